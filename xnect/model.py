"""Names and files -> a ready pipeline; weights are loaded strictly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from xnect.calib.camera import Camera
from xnect.errors import BadInput, BadWeights, UnknownName
from xnect.fit import FitOptions
from xnect.lift import load_lifter
from xnect.network import PRESETS, Network, build_network
from xnect.pipeline import Pipeline
from xnect.prepare import Normalisation
from xnect.proportions import ProportionOptions
from xnect.refiner import REFINER_NAME, REFINERS, Refiner
from xnect.track import TrackOptions

DEFAULT_PRESET = "s"
"""The preset with the best bundled weights."""

WEIGHTS = Path(__file__).parent / "weights"
LANES = ("open", "research")
"""Of weights: `open` ones may be shipped in a product, `research` ones may not."""

DEFAULT_LANE = "research"
"""The lane that works better on real photographs."""

DEVICES = ("auto", "cpu", "cuda", "mps")


def bundled_weights(preset: str, lane: str = DEFAULT_LANE) -> Path:
    """Where a preset's Stage I weights would be; they need not exist."""
    return bundled(f"stage1_{preset}", lane)


def bundled(name: str, lane: str = DEFAULT_LANE) -> Path:
    """A bundled file of a lane, such as `refiner`; research takes open ones where it has none.

    Raises:
        UnknownName: a lane that does not exist.
    """
    if lane not in LANES:
        raise UnknownName("lane", lane, LANES)
    own = WEIGHTS / lane / f"{name}.safetensors"
    if lane == "research" and not own.is_file():
        return WEIGHTS / "open" / own.name
    return own


def refiner_file(name: str | Path, lane: str = DEFAULT_LANE) -> Path:
    """Weights of the second look by the name of their size; any other name is that of a file.

    Raises:
        BadWeights: a size of which this lane has no weights, or no such file.
        UnknownName: a lane that does not exist.
    """
    if str(name) not in BUNDLED_REFINERS:
        if not Path(name).is_file():
            raise BadWeights(
                f"no weights file at {name}; the second look takes a file of your own, or "
                f"{' or '.join(BUNDLED_REFINERS)}"
            )
        return Path(name)
    path = bundled(BUNDLED_REFINERS[str(name)], lane)
    if not path.is_file():
        have = [n for n, file in BUNDLED_REFINERS.items() if bundled(file, lane).is_file()]
        raise BadWeights(
            f"refiner {str(name)!r} has no bundled weights in lane {lane} yet; bundled: "
            f"{', '.join(have) or 'none'}; or give your own file"
        )
    return path


def load_network(path: Path, preset: str | None = None) -> Network:
    """Stage I with weights from a safetensors file written by this project.

    Args:
        path: The file.
        preset: What it should be for; None takes what the file says.

    Raises:
        BadWeights: A file that is missing, corrupted, or for another network.
        UnknownName: A preset that does not exist.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", preset, sorted(PRESETS))
    state, metadata = _read(path)
    made_for = metadata.get("preset")
    if made_for not in PRESETS:
        raise BadWeights(
            f"{path} says preset {made_for!r}; expected weights of Stage I for one of "
            f"{', '.join(sorted(PRESETS))}"
        )
    if preset is not None and preset != made_for:
        raise BadWeights(f"{path} holds weights for preset {made_for!r}, not {preset!r}")
    boxes = any(name.startswith("boxes.") for name in state)
    network = build_network(made_for, backbone=metadata.get("backbone") or None, boxes=boxes)
    _fill(network, state, f"{path} does not fit preset {made_for!r}")
    return network.eval()


def load_refiner(path: Path) -> Refiner:
    """The refiner with weights from a safetensors file written by this project.

    Raises:
        BadWeights: A file that is missing, corrupted, or for another network.
    """
    state, metadata = _read(path)
    if metadata.get("architecture") != REFINER_NAME:
        raise BadWeights(
            f"{path} says architecture {metadata.get('architecture')!r}; expected {REFINER_NAME!r}"
        )
    preset = metadata.get("preset", "s")
    if preset not in REFINERS:
        raise BadWeights(f"{path} says preset {preset!r}; expected {' or '.join(sorted(REFINERS))}")
    refiner = Refiner(REFINERS[preset])
    _fill(refiner, state, f"{path} does not fit the refiner")
    return refiner.eval()


def _fill(network: nn.Module, state: dict[str, Tensor], sentence: str) -> None:
    """Load strictly, but for the counters of batch norm."""
    counters = {k for k in network.state_dict() if k.endswith("num_batches_tracked")}
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items() if k not in counters}
    found = {k: tuple(v.shape) for k, v in state.items() if k not in counters}
    wrong = sorted(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
    if wrong:
        listed = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise BadWeights(f"{sentence}: {listed} differ")
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadWeights(f"no weights file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except (SafetensorError, OSError) as error:
        raise BadWeights(
            f"{path} is not a whole safetensors file ({error}); download or copy it again"
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def pick_device(name: str) -> str:
    """`auto` -> cuda, mps or cpu, whichever is there.

    Raises:
        BadInput: A device that this machine does not have.
    """
    if name not in DEVICES:
        raise UnknownName("device", name, DEVICES)
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, ready in there.items() if ready)
    if not there[name]:
        ready = ", ".join(device for device, ok in there.items() if ok)
        raise BadInput(f"device {name!r} is not available here; available: {ready}")
    return name


def unfiltered() -> tuple[TrackOptions, FitOptions]:
    """Options without delay, for takes that are smoothed at their end (`smooth_take`).

    The 1-euro filters let everything pass, and the past weighs only so much that the fit stays in
    the same minimum.
    """
    weights = FitOptions().weights
    loose = replace(
        weights, steady=_LOOSE * weights.steady, depth=_LOOSE * weights.depth,
        root=_LOOSE * weights.root,
    )  # fmt: skip
    passing = (_PASSING_HZ, 0.0)
    return TrackOptions(filter_px=passing, filter_m=passing), FitOptions(weights=loose)


BUNDLED_REFINERS = {"sa": "refiner", "m": "refiner_m"}
"""Files of the sizes of the second look's network, see `xnect.refiner.REFINERS`."""

DEFAULT_REFINER = "sa"
LIFTER, REFINED_LIFTER = "lifter", "lifter_refined"
"""Stage II, and the one that has learnt from what the refiner says of people, errors and all."""

_PASSING_HZ = 1e6
_LOOSE = 0.25  # measured by `benchmarks/smoothing.py`


def load_pipeline(
    preset: str | None = None,
    *,
    device: str = "auto",
    camera: Camera | None = None,
    weights: str | Path | None = None,
    lane: str = DEFAULT_LANE,
    height_m: float | None = None,
    live: bool = True,
    flip_test: bool | None = None,
    refine: bool = True,
    refiner: str | Path = DEFAULT_REFINER,
    proportions: ProportionOptions | None = ProportionOptions(),
) -> Pipeline:
    """A pipeline that is ready to run.

    Args:
        preset: `s` or `m`; None takes that of `weights`, or the one with the best bundled weights.
        device: `auto`, `cpu`, `cuda` or `mps`.
        camera: Intrinsics; None guesses them from the picture size, marked uncalibrated.
        weights: Stage I weights; None takes the bundled ones.
        lane: Of the bundled weights: `research` ones see better, `open` ones may be shipped in a
            product.
        height_m: Stature assumed for everybody; distances are proportional to it.
        live: False does without filters over time, for a take that `smooth_take` finishes.
        flip_test: Look at the mirrored picture as well, and at each person several times (wider,
            turned upright, turned a little): surer joints, several times the networks' time.
            None does so for single pictures, and not for streams.
        refine: Look at each person again with the refiner: far better joints, some milliseconds
            more for each person.
        refiner: Network of that second look: `sa`, or `m`, twice as wide, surer and slower; or your
            own file.
        proportions: What is learned of each identity's bones and stature; None learns nothing.

    Raises:
        UnknownName: A preset, lane or device that does not exist.
        BadWeights: Weights that are missing, corrupted, for another network, or of the research
            lane where `lane` is the open one.
        BadInput: A device that is not there, or an impossible stature.
    """
    if preset is not None and preset not in PRESETS:
        raise UnknownName("preset", preset, sorted(PRESETS))
    if height_m is not None and not 0.4 <= height_m <= 2.6:
        raise BadInput(f"height_m is the stature of a person in metres, 0.4 to 2.6, got {height_m}")
    if weights is None:
        preset = preset or DEFAULT_PRESET
        path = bundled_weights(preset, lane)
        if not path.is_file():
            have = [p for p in sorted(PRESETS) if bundled_weights(p, lane).is_file()]
            raise BadWeights(
                f"preset {preset!r} has no bundled weights in lane {lane} yet; bundled: "
                f"{', '.join(have) or 'none'}; or give your own file with weights="
            )
    else:
        path = Path(weights)
    network = load_network(path, preset)
    metadata = _metadata(path)  # `load_network` has checked it
    second = refiner_file(refiner, lane) if refine else None
    looks = load_refiner(second) if second else None
    for file in (path, second):
        if lane == "open" and file and _metadata(file).get("lane") == "research":
            raise BadWeights(
                f"{file} is of the research lane; take lane research, or weights of the open lane"
            )
    track, fit = (TrackOptions(), FitOptions()) if live else unfiltered()
    if height_m is not None:
        fit = replace(fit, height_m=height_m, stature_sd_m=ProportionOptions().adults_sd_m)
        proportions = replace(proportions, given=True) if proportions else None
    return Pipeline(
        network,
        load_lifter(bundled(REFINED_LIFTER if refine else LIFTER, lane)),
        input_hw=PRESETS[metadata["preset"]].input_hw,
        camera=camera,
        device=pick_device(device),
        track=track,
        fit=fit,
        proportions=proportions,
        flip_test=flip_test,
        normalisation=Normalisation.of(metadata),
        refiner=looks,
    )
