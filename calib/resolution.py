"""A camera calibrated at one picture size, used at another: scaled, or refused with the reason.

Scaling is right when the whole sensor picture was made smaller or larger.  It is wrong when the
camera crops, which nothing in the picture tells; a changed shape is the sign that there is.
"""

from __future__ import annotations

from .camera import Camera
from .errors import CannotCalibrate

SHAPE_TOLERANCE = 0.01


def camera_for_size(camera: Camera, *, height_px: int, width_px: int) -> Camera:
    """The camera itself where the size is its own, else scaled.

    Raises:
        CannotCalibrate: the shape of the picture is another one.
    """
    if (height_px, width_px) == (camera.height_px, camera.width_px):
        return camera
    shape = width_px / height_px * camera.height_px / camera.width_px
    if abs(shape - 1) > SHAPE_TOLERANCE:
        own, wanted = f"{camera.width_px}x{camera.height_px}", f"{width_px}x{height_px}"
        turned = abs(width_px / height_px * camera.width_px / camera.height_px - 1)
        advice = (
            "the picture is turned; turn it back, or calibrate for that shape"
            if turned <= SHAPE_TOLERANCE
            else "calibrate for that shape"
        )
        raise CannotCalibrate(
            f"is for pictures of {own}, which cannot be scaled to {wanted}; {advice}"
        )
    return camera.resized(height_px, width_px)


def scaling(camera: Camera, *, height_px: int, width_px: int) -> str:
    """A sentence when `camera_for_size` scales, empty when it does not."""
    if (height_px, width_px) == (camera.height_px, camera.width_px):
        return ""
    return (
        f"the camera was calibrated at {camera.width_px}x{camera.height_px} and is scaled to "
        f"{width_px}x{height_px}, which is right unless the camera crops at one of the two sizes"
    )
