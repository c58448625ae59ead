"""The clip that comes with the package: three people in a room, rendered by this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xnect.errors import CannotOpenSource

if TYPE_CHECKING:
    from xnect.calib.camera import Camera

CLIP = Path(__file__).with_name("demo.mp4")
TRUTH = Path(__file__).with_name("demo_truth.npz")


def clip() -> Path:
    """Where the clip lies.

    Raises:
        CannotOpenSource: this installation lacks it.
    """
    if not CLIP.is_file():
        raise CannotOpenSource(
            f"the demo clip {CLIP} is missing from this installation; install xnect again, "
            "or use `xnect video` with a video of your own"
        )
    return CLIP


def clip_camera(height: int, width: int) -> Camera | None:
    """The camera that the clip was rendered with, exactly; None when it is not known."""
    import numpy as np

    from xnect.calib.camera import Camera

    if not TRUTH.is_file():
        return None
    with np.load(TRUTH, allow_pickle=False) as truth:
        focal, cx, cy = (float(truth[key]) for key in ("focal_px", "cx_px", "cy_px"))
        known = Camera(focal, focal, cx, cy, int(truth["width_px"]), int(truth["height_px"]))
    return known.resized(height, width)
