"""`python -m xnect.train.pack`: the data packs -> shards for training."""

from __future__ import annotations

import argparse
from pathlib import Path

from xnect.train.datasets.coco import coco
from xnect.train.datasets.lspet import lspet
from xnect.train.datasets.renders import renders
from xnect.train.samples import write_shard


def pack(shared: Path, rendered: Path, out: Path) -> dict[str, int]:
    """Write `coco.npz`, `negatives.npz`, `lspet.npz` and `renders-*.npz`; returns their counts.

    Args:
        shared: The folder `shared/data` with `coco`, `lspet` and `teacher3d`.
        rendered: Folder of the generator's shards.
        out: Where to write.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = shared / "coco"
    counts = {
        "coco": write_shard(out / "coco.npz", coco(pictures / "train.json", pictures / "train")),
        "lspet": write_shard(
            out / "lspet.npz",
            lspet(shared / "lspet", "train", shared / "teacher3d" / "lspet_train.npz"),
        ),
    }
    unlabelled = coco(pictures / "unlabelled.json", pictures / "train" / "unlabelled")
    nobody = (s for s in unlabelled if s.outside_weight == 1.0 and not len(s.ignore_xyxy))
    counts["negatives"] = write_shard(out / "negatives.npz", nobody)
    for path in sorted(rendered.glob("s*.npz")):
        counts[path.stem] = write_shard(out / f"renders-{path.stem}.npz", renders(path), quality=92)
    return counts


def main() -> None:
    """Command line of `pack`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--renders", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for name, count in pack(options.shared, options.renders, options.out).items():
        print(f"{name}: {count} pictures")


if __name__ == "__main__":
    main()
