"""Small video files for tests: every frame says its own number by its brightness."""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def picture(number: int, hw: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Grey of 4 * number, white in the top-left corner and red in the top-right one."""
    image = np.full((*hw, 3), 40 + 4 * number, np.uint8)
    height, width = hw[0] // 4, hw[1] // 4
    image[:height, :width] = 255
    image[:height, -width:] = (255, 0, 0)
    return image


def number_of(image: np.ndarray) -> int:
    """The number that `picture` was given."""
    return round((float(np.median(image)) - 40) / 4)


def write_movie(
    path: Path,
    times_s: Sequence[float],
    *,
    hw: tuple[int, int] = (48, 64),
    rotation_deg: int = 0,
    aspect: Fraction | None = None,
    codec: str = "libx264",
    show: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """A video whose pictures are `show(number)`, without it `picture(number, hw)`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = hw
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.codec_context.options = {"crf": "10", "g": "5"}
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation_deg:
            stream.set_display_rotation(rotation_deg)
        for number, time_s in enumerate(times_s):
            image = picture(number, hw) if show is None else show(number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def steady(frames: int, fps: float = 25.0) -> list[float]:
    return [number / fps for number in range(frames)]


def write_sound(path: Path) -> Path:
    """A WAV file: sound, no pictures."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\0" * 8000)
    return path


def read_back(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """Pictures and times of a file, by a plain loop of the decoder."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [f.time for f in frames]
