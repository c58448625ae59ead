"""Forward times of the backbones; the same as `xnect bench backbones`.

python benchmarks/backbones.py
"""

from __future__ import annotations

import sys

from xnect.demo.bench_backbones import main

if __name__ == "__main__":
    sys.exit(main())
