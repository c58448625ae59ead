"""The two lanes of weights: their licences, their data sets, and the shares of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xnect.backbones.hub import download
from xnect.errors import BadInput, UnknownName
from xnect.train.batches import Source
from xnect.train.checkpoint import file_metadata

LICENCES = {
    "open": "Apache-2.0",
    "research": "research only: trained on data sets that are for research as well",
}
"""Of the weights of each lane."""


MOTION_CAPTURE = ("muco", "mpi3dhp", "h36m")
"""Sets for research that are used where their shards are."""


RESEARCH_CROPS = ("lspet", "alarms-research")
"""Cut-outs that are for research only, or were found by weights that are."""


def mixture_sources(packed: Path, lane: str, shares: Mapping[str, float] = {}) -> list[Source]:
    """The data sets of a lane with their shares.

    `open` has renders and COCO train2017 only; `research` also LSP-Extended, and the sets with
    motion capture that were packed.

    Args:
        packed: Folder of shards.
        lane: `open` or `research`.
        shares: Name -> share; the sets that are not named are not used.  Empty takes all, in the
            shares of the bundled weights.

    Raises:
        BadInput: There are no renders though they are wanted, or a share is not positive.
        UnknownName: A set that this lane does not have.
    """
    rendered = tuple(sorted(packed.glob("renders-*.npz")))
    extra = tuple(sorted(packed.glob("coco-extra*.npz")))
    empty = tuple(sorted(packed.glob("empty-*.npz")))
    coco_share = 0.26 if extra else 0.15
    sources = [
        Source("coco-train2017", (packed / "coco.npz", *extra), coco_share, True),
        Source("negatives", (packed / "negatives.npz", *empty), 0.06, True),
        Source("renders", rendered, 0.28, False),
    ]
    if lane == "research":
        sources.append(Source("lspet", (packed / "lspet.npz",), 0.42, True, min_size=0.45))
        for name in MOTION_CAPTURE:
            shards = tuple(sorted(packed.glob(f"{name}-*.npz")))
            if shards:
                sources.append(Source(name, shards, 0.15, True))
    check_shares(shares, lane, [source.name for source in sources])
    if shares:
        sources = [replace(s, share=shares[s.name]) for s in sources if s.name in shares]
    if any(source.name == "renders" and not source.paths for source in sources):
        raise BadInput(f"no renders-*.npz in {packed}; run `python -m xnect.train.pack` first")
    return sources


def check_shares(shares: Mapping[str, float], lane: str, known: Sequence[str]) -> None:
    """Refuse shares that no mixture can have.

    Raises:
        UnknownName: of a set that is not among those `known` in the lane.
        BadInput: one that is not positive.
    """
    for name, share in shares.items():
        if name not in known:
            raise UnknownName(f"data set in lane {lane}", name, known)
        if not 0 < share < math.inf:
            raise BadInput(f"the share of {name} must be a positive number, got {share}")


def read_shares(text: str) -> dict[str, float]:
    """`renders=0.5,coco-train2017=0.5` -> name -> share.

    Raises:
        BadInput: it is not written so.
    """
    shares: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        try:
            shares[name.strip()] = float(number)
        except ValueError as error:
            raise BadInput(
                f"--shares must be like renders=0.5,coco-train2017=0.5, got {part!r}"
            ) from error
    return shares


def lane_of(path: Path) -> str:
    """The lane that a weights file names; a file of somebody else's, which names none, is open.

    Of a folder, that of the weights in it.
    """
    try:
        return file_metadata(download(str(path))).get("lane", "open") if path.exists() else "open"
    except OSError:
        return "open"  # no file of this project's; whoever loads it says what is wrong


def refuse_research(lane: str, *starts: Path | None) -> None:
    """Weights of the open lane start from open ones only.

    Raises:
        BadInput: one of these is of the research lane, and `lane` is open.
    """
    for path in starts:
        if lane == "open" and path is not None and lane_of(path) == "research":
            raise BadInput(
                f"{path} is of the research lane, so weights that start from it are too; "
                "give --lane research, or another start"
            )


def lane_of_all(*lanes: str) -> str:
    """Of what is made of several: research if one of them is."""
    return "research" if "research" in lanes else "open"
