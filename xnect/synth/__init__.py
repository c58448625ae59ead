"""Synthetic people: random clothed bodies in rooms and before photos, with exact labels.

`python -m xnect.synth --help` renders shards of training pictures, clips and contact sheets from
an asset pack (bodies, clothes, tiles: CC0 by MakeHuman and ambientCG; photos: CC BY and CC BY-SA).
The bundled clip of the demo, CC0 but for the motion of its people, was made at commit ae4e8ef by

    python -m xnect.synth clip --data ../shared/data/synth --out demo/demo.mp4 --seed 9

(today's renderer draws another picture of the same kind).

The motion used here was obtained from mocap.cs.cmu.edu.  The database was created with funding
from NSF EIA-0196217.
"""
