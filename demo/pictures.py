"""Words of the command line -> pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xnect.demo.inputs import find_inputs
from xnect.errors import CannotOpenSource
from xnect.image import as_rgb8

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2")
)


def find_pictures(words: Sequence[str], on_problem: Callable[[str], None]) -> list[Path]:
    """Files, folders and patterns -> files, each once, in order.

    Of a folder the pictures directly in it are taken.  `on_problem` is told of each pattern or
    folder that gives nothing.

    Raises:
        CannotOpenSource: Nothing is left.
    """
    return find_inputs(words, is_picture, "picture", on_problem)


def is_picture(path: Path) -> bool:
    """Whether it is a file with a picture's ending, and not a hidden one."""
    return path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file()


def open_picture(path: Path, *, upright: bool) -> Image:
    """The whole picture in RGB; of an animation the first one.

    Args:
        path: A file that Pillow can read.
        upright: Turn it as its EXIF orientation says, like every viewer.  timm does not.

    Raises:
        CannotOpenSource: No such file, no picture, or one that is damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about transparency that RGB cannot hold
            with Image.open(path) as opened:
                image = ImageOps.exif_transpose(opened) if upright else opened
                if image.mode.startswith("I;16"):  # Pillow would cut off what is above 255
                    return Image.fromarray(as_rgb8(np.asarray(image).astype(np.uint16)))
                return image.convert("RGB")
    except FileNotFoundError as error:
        raise CannotOpenSource(f"cannot open {path}: no such file") from error
    except UnidentifiedImageError as error:
        raise CannotOpenSource(f"cannot open {path}: it is not a picture") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        why = getattr(error, "strerror", None) or error
        raise CannotOpenSource(f"cannot open {path}: {why}") from error
