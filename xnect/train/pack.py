"""`python -m xnect.train.pack`: the data packs -> shards for training."""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from xnect.errors import BadInput, CannotOpenSource, XnectError
from xnect.synth.shards import split_of
from xnect.synth.split import EVERY_PHOTO
from xnect.synth.split import every as one_side
from xnect.train.datasets.coco import coco
from xnect.train.datasets.files import read_json_list, read_picture
from xnect.train.datasets.h36m import h36m
from xnect.train.datasets.lspet import lspet
from xnect.train.datasets.mpi3dhp import mpi3dhp
from xnect.train.datasets.muco import muco
from xnect.train.datasets.renders import renders
from xnect.train.samples import Sample, write_shard

log = logging.getLogger(__name__)

BACKGROUND_PX = 640
"""Longer side to which photos without people are reduced."""


def training_photos(synth: Path) -> list[Path]:
    """The photos behind the renders, without those that `xnect.synth.split` holds out.

    Raises:
        BadInput: `backgrounds.json`, which tells them apart, is missing or damaged.
    """
    file = synth / "backgrounds.json"
    entries = read_json_list(file)
    if not all(isinstance(entry.get(name), str) for entry in entries for name in ("file", "use")):
        raise BadInput(f"{file}: every photo must have the texts file and use")
    names: list[str] = []
    for use in sorted({entry["use"] for entry in entries}):
        kind = [entry["file"] for entry in entries if entry["use"] == use]
        names += [kind[n] for n in one_side(len(kind), EVERY_PHOTO, held_out=False)]
    return [synth / "backgrounds" / name for name in sorted(names)]


def negatives(shared: Path) -> Iterator[Sample]:
    """Pictures without people: COCO's unlabelled ones and the photos behind the renders.

    Where COCO does not say that nobody is there, they count half.  Photos that the tests show are
    not among them.
    """
    folder = shared / "coco"
    try:
        for sample in coco(folder / "unlabelled.json", folder / "train" / "unlabelled"):
            if not len(sample.ignore_xyxy) and sample.ignore_mask is None:
                yield replace(sample, outside_weight=1.0 if sample.outside_weight == 1.0 else 0.5)
    except BadInput as error:
        log.warning("left out the unlabelled pictures: %s", error)
    try:
        photos = training_photos(shared / "synth")
    except BadInput as error:
        log.warning("left out the photos behind the renders: %s", error)
        return
    yield from without_people(photos)


def of_folder(folder: Path) -> Iterator[Sample]:
    """The pictures of a folder of which none shows anybody.

    Raises:
        BadInput: it is no folder.
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder} of pictures without people")
    visible = (p for p in folder.iterdir() if p.is_file() and p.name[0] != ".")
    yield from without_people(sorted(visible))


def without_people(pictures: Iterable[Path]) -> Iterator[Sample]:
    """Pictures that are known to show nobody; those that cannot be decoded are left out."""
    for path in pictures:
        try:
            image = read_picture(path)
        except CannotOpenSource as error:
            log.warning("left out: %s", error)
            continue
        share = BACKGROUND_PX / max(image.shape[:2])
        if share < 1:
            image = cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        yield Sample(
            image=image,
            joints_px=np.zeros((0, 18, 2)),
            state=np.zeros((0, 18), np.int8),
            boxes_xyxy=np.zeros((0, 4)),
            joints3d_m=np.zeros((0, 21, 3)),
            joints3d_weight=np.zeros((0, 21)),
            depth_m=np.zeros(0),
            ignore_xyxy=np.zeros((0, 4)),
            outside_weight=1.0,
        )


@dataclass(frozen=True)
class OtherSets:
    """Where public sets lie that are not among the data packs; None is not there."""

    muco: Path | None = None  # folder with MuCo-3DHP.json and the pictures
    mpi3dhp: Path | None = None  # folder with S1 ... S8
    h36m: Path | None = None  # folder of pictures, with the JSON files in `annotations`


def pack(
    shared: Path,
    rendered: Path,
    out: Path,
    more_coco: Path | None = None,
    others: OtherSets = OtherSets(),
    empty: Sequence[Path] = (),
) -> dict[str, int]:
    """Write a shard for each data set that is there; returns the counts of pictures.

    A set that is missing or damaged is left out with a warning; its older shard stays.

    Args:
        shared: The folder `shared/data` with `coco`, `lspet`, `teacher3d` and `synth`.
        rendered: Folder of the generator's shards.
        out: Where to write `coco.npz`, `negatives.npz`, `lspet.npz`, `renders-*.npz`, of held-out
            ones `held-out-*.npz` and, of other sets, `muco-*.npz`, `mpi3dhp-*.npz`, `h36m-*.npz`.
        more_coco: Folder with more COCO train2017 pictures and their `labels.json`.
        others: Public sets with motion capture.
        empty: Folders of pictures that show nobody, for `empty-FOLDER.npz`.

    Raises:
        BadInput: `rendered` is no folder, there is not one usable set, or two folders of `empty`
            have one name.
        CannotWrite: The disk is full.
    """
    shards = _shards_of(rendered)
    coco_root, lspet_root = shared / "coco", shared / "lspet"
    teacher = shared / "teacher3d" / "lspet_train.npz"
    sets: dict[str, Callable[[], Iterator[Sample]]] = {
        "coco": lambda: coco(coco_root / "train.json", coco_root / "train"),
        "negatives": lambda: negatives(shared),
        "lspet": lambda: lspet(lspet_root, "train", teacher if teacher.exists() else None),
    }
    if more_coco is not None:
        sets["coco-extra"] = lambda: coco(more_coco / "labels.json", more_coco)
    for folder in empty:
        name = f"empty-{folder.resolve().name}"
        if name in sets:
            raise BadInput(f"two folders of pictures without people are called {name[6:]}")
        sets[name] = partial(of_folder, folder)
    counts: dict[str, int] = {}
    for name, samples in sets.items():
        _packed(counts, name, out / f"{name}.npz", samples())
    for path in shards:
        try:
            kind = _KINDS.get(split_of(path), "renders")  # older ones do not say
        except _DAMAGED as error:
            _left_out(path.stem, error)
            continue
        if kind is None:
            log.warning("left out %s: it shows all of the pack, also what is held out", path.stem)
        else:
            _packed(counts, path.stem, out / f"{kind}-{path.stem}.npz", renders(path), quality=92)
    for name, source in _with_motion_capture(others).items():
        try:
            for number, part in enumerate(_parts(source)):
                _packed(counts, f"{name}-{number:03d}", out / f"{name}-{number:03d}.npz", part)
        except _DAMAGED as error:
            _left_out(name, error)
    if not counts:
        raise BadInput(f"neither {shared} nor {rendered} holds a data set that can be read")
    return counts


def _shards_of(rendered: Path) -> list[Path]:
    """The shards in a folder of renders; a warning if there are none.

    Raises:
        BadInput: it is no folder.
    """
    if not rendered.is_dir():
        raise BadInput(
            f"{rendered} is no folder of renders; give that of `python -m xnect.synth images`"
        )
    shards = sorted(rendered.glob("*.npz"))
    if not shards:
        log.warning("%s holds no renders (.npz)", rendered)
    return shards


def _with_motion_capture(others: OtherSets) -> dict[str, Iterator[Sample]]:
    sets: dict[str, Iterator[Sample]] = {}
    if others.muco is not None:
        sets["muco"] = muco(others.muco / "MuCo-3DHP.json", others.muco)
    if others.mpi3dhp is not None:
        sets["mpi3dhp"] = mpi3dhp(others.mpi3dhp)
    if others.h36m is not None:
        sets["h36m"] = h36m(others.h36m / "annotations", others.h36m)
    return sets


_KINDS: dict[str | None, str | None] = {"held-out": "held-out", "all": None}
"""Part of the pack that a shard of renders shows -> what it is packed as, None not at all."""

PART = 5000
"""Pictures in one shard of a large set: they are held in memory while it is written."""


def _parts(samples: Iterator[Sample]) -> Iterator[Iterator[Sample]]:
    """Cut into parts of at most `PART`; each must be used up before the next."""
    for head in samples:
        yield itertools.chain([head], itertools.islice(samples, PART - 1))


def _packed(
    counts: dict[str, int], name: str, path: Path, samples: Iterator[Sample], *, quality: int = 95
) -> None:
    people: list[int] = []

    def counted() -> Iterator[Sample]:
        for sample in samples:
            people.append(len(sample.joints_px))
            yield sample

    try:
        counts[name] = write_shard(path, counted(), quality=quality)
        log.info("%s: %d people in %d pictures", name, sum(people), counts[name])
    except _DAMAGED as error:
        _left_out(name, error)


_DAMAGED = (
    CannotOpenSource, AttributeError, IndexError, KeyError, TypeError, ValueError, cv2.error
)  # fmt: skip
"""What a set can raise whose readers did not foresee how it is damaged; `BadInput` is among it."""


def _left_out(name: str, error: Exception) -> None:
    said = str(error) if isinstance(error, XnectError) else f"{type(error).__name__}: {error}"
    log.warning("left out %s: %s", name, " ".join(said.split()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of `pack`; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--renders", type=Path, required=True, help="shards of xnect.synth images")
    parser.add_argument("--more-coco", type=Path, help="more train2017 pictures and labels.json")
    parser.add_argument(
        "--empty", type=Path, nargs="+", default=[], help="folders of pictures that show nobody"
    )
    parser.add_argument("--muco", type=Path, help="folder with MuCo-3DHP.json and its pictures")
    parser.add_argument("--mpi3dhp", type=Path, help="folder with S1 ... S8 of MPI-INF-3DHP")
    parser.add_argument("--h36m", type=Path, help="pictures of Human3.6M, JSON in annotations/")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    others = OtherSets(options.muco, options.mpi3dhp, options.h36m)
    try:
        counts = pack(
            options.shared, options.renders, options.out, options.more_coco, others, options.empty
        )
    except XnectError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, count in counts.items():
        print(f"{name}: {count} pictures")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
