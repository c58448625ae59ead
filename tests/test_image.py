from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from xnect.errors import BadInput
from xnect.image import as_rgb8

RGB = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6).map(lambda s: (*s, 3)))


@given(RGB)
def test_every_kind_of_the_same_picture_gives_the_same_rgb(rgb: np.ndarray) -> None:
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    for same in (
        np.concatenate([rgb, alpha], 2),
        rgb.astype(np.uint16) * 257,
        rgb / 255,
        (rgb / 255).astype(np.float32),
        rgb.tolist() and rgb[::1],
    ):
        np.testing.assert_array_equal(as_rgb8(same), rgb)


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_grey_becomes_three_equal_channels(grey: np.ndarray) -> None:
    for kind in (grey, grey[..., None], grey.astype(np.uint16) * 257, grey / 255):
        rgb = as_rgb8(kind)
        assert rgb.dtype == np.uint8
        assert rgb.flags.c_contiguous
        np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, 2))


@given(st.integers(0, 65535))
def test_16_bit_is_rounded_to_the_nearest_of_8_bit(value: int) -> None:
    got = as_rgb8(np.full((1, 1), value, np.uint16))[0, 0, 0]
    assert abs(int(got) - value * 255 / 65535) <= 0.5


def test_an_rgb_picture_is_handed_on_without_a_copy() -> None:
    rgb = np.zeros((4, 5, 3), np.uint8)
    assert as_rgb8(rgb) is rgb or np.shares_memory(as_rgb8(rgb), rgb)


def test_a_picture_of_one_pixel_is_a_picture() -> None:
    assert as_rgb8(np.zeros((1, 1, 3), np.uint8)).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (np.zeros((3, 8, 9), np.uint8), "channels come last"),
        (np.zeros((8, 9, 2), np.uint8), "shape (8, 9, 2)"),
        (np.zeros((1, 8, 9, 3), np.uint8), "shape (1, 8, 9, 3)"),
        (np.zeros((0, 9, 3), np.uint8), "at least one pixel"),
        (np.zeros((8, 9, 3), np.int32), "int32"),
        (np.full((8, 9, 3), 255.0), "0..1, got 255..255"),
        (np.full((8, 9, 3), -0.5), "0..1"),
        (np.full((8, 9, 3), np.nan), "0..1"),
        (np.zeros((8, 9), bool), "cannot use"),
        ("photo.jpg", "str"),
        (None, "NoneType"),
        ([[1, 2], [3]], "list"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(bad: object, word: str) -> None:
    with pytest.raises(BadInput) as caught:
        as_rgb8(bad)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@given(arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_the_order_of_bytes_changes_nothing(grey: np.ndarray) -> None:
    from PIL import Image

    same = grey.astype(">u2")
    of_pillow = Image.frombytes("I;16B", grey.shape[::-1], same.tobytes())
    for swapped in (same, of_pillow):
        np.testing.assert_array_equal(as_rgb8(swapped), as_rgb8(grey))


@pytest.mark.parametrize("mode", ["1", "LA", "La"])
def test_grey_of_pillow_in_one_bit_or_with_alpha_is_that_of_8_bits(
    mode: str, tmp_path: Path
) -> None:
    from PIL import Image

    from xnect.demo.sources.video import VideoFile

    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    if mode == "1":
        picture = grey.convert("1")
        grey = picture.convert("L")
    else:
        alpha = np.arange(128, 256, dtype=np.uint8).repeat(2).reshape(16, 16)
        picture = Image.merge("LA", (grey, Image.fromarray(alpha))).convert(mode)
    error = np.abs(as_rgb8(picture).astype(int) - as_rgb8(grey))
    assert error.max() <= 2 * (mode == "La")  # which holds grey times alpha, rounded
    if mode != "La":  # no file is of it
        picture.save(tmp_path / "grey.png")
        with VideoFile(tmp_path / "grey.png") as video:
            np.testing.assert_array_equal(as_rgb8(picture), next(iter(video)).image)


@pytest.mark.parametrize("mode", ["P", "CMYK", "HSV", "YCbCr", "RGB", "L"])
def test_pictures_of_pillow_keep_their_colours(mode: str) -> None:
    from PIL import Image

    red = Image.new("RGB", (4, 3), (200, 30, 40))
    converted = red.convert(mode)
    np.testing.assert_array_equal(as_rgb8(converted), np.asarray(converted.convert("RGB")))
