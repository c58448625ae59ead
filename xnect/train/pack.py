"""`python -m xnect.train.pack`: the data packs -> shards for training."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from xnect.train.datasets.coco import coco
from xnect.train.datasets.lspet import lspet
from xnect.train.datasets.renders import renders
from xnect.train.samples import Sample, write_shard

BACKGROUND_PX = 640
"""Longer side to which photos without people are reduced."""


def negatives(shared: Path) -> Iterator[Sample]:
    """Pictures without people: COCO's unlabelled ones and the photos behind the renders.

    Where COCO does not say that nobody is there, they count half.
    """
    folder = shared / "coco"
    for sample in coco(folder / "unlabelled.json", folder / "train" / "unlabelled"):
        if not len(sample.ignore_xyxy):
            yield replace(sample, outside_weight=1.0 if sample.outside_weight == 1.0 else 0.5)
    for path in sorted((shared / "synth" / "backgrounds").glob("*.jpg")):
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        assert bgr is not None
        share = BACKGROUND_PX / max(bgr.shape[:2])
        bgr = cv2.resize(bgr, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        yield Sample(
            image=bgr[..., ::-1],
            joints_px=np.zeros((0, 18, 2)),
            state=np.zeros((0, 18), np.int8),
            boxes_xyxy=np.zeros((0, 4)),
            joints3d_m=np.zeros((0, 21, 3)),
            joints3d_weight=np.zeros((0, 21)),
            depth_m=np.zeros(0),
            ignore_xyxy=np.zeros((0, 4)),
            outside_weight=1.0,
        )


def pack(shared: Path, rendered: Path, out: Path, more_coco: Path | None = None) -> dict[str, int]:
    """Write `coco.npz`, `negatives.npz`, `lspet.npz` and `renders-*.npz`; returns their counts.

    Args:
        shared: The folder `shared/data` with `coco`, `lspet`, `teacher3d` and `synth`.
        rendered: Folder of the generator's shards.
        out: Where to write.
        more_coco: Folder with more COCO train2017 pictures and their `labels.json`.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = shared / "coco"
    counts = {
        "coco": write_shard(out / "coco.npz", coco(pictures / "train.json", pictures / "train")),
        "negatives": write_shard(out / "negatives.npz", negatives(shared)),
        "lspet": write_shard(
            out / "lspet.npz",
            lspet(shared / "lspet", "train", shared / "teacher3d" / "lspet_train.npz"),
        ),
    }
    if more_coco is not None:
        extra = coco(more_coco / "labels.json", more_coco)
        counts["coco-extra"] = write_shard(out / "coco-extra.npz", extra)
    for path in sorted(rendered.glob("*.npz")):
        counts[path.stem] = write_shard(out / f"renders-{path.stem}.npz", renders(path), quality=92)
    return counts


def main() -> None:
    """Command line of `pack`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--renders", type=Path, required=True, help="shards of xnect.synth images")
    parser.add_argument("--more-coco", type=Path, help="more train2017 pictures and labels.json")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    counts = pack(options.shared, options.renders, options.out, options.more_coco)
    for name, count in counts.items():
        print(f"{name}: {count} pictures")


if __name__ == "__main__":
    main()
