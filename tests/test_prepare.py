"""The way from picture pixels to cells and back is exact."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xnect.network import MULTIPLE, STRIDE
from xnect.prepare import (
    Normalisation,
    image_from_cell,
    letterbox,
    network_hw,
    normalise,
    resize,
)

sides = st.integers(1, 4000)


@given(sides, sides)
def test_network_sizes_are_multiples_of_16_and_near_the_nominal_area(height, width):
    h, w = network_hw((height, width), (320, 512))
    assert h % MULTIPLE == 0 and w % MULTIPLE == 0
    assert 0.75 < h * w / (320 * 512) < 1.25


@given(st.integers(16, 2000), st.integers(16, 2000))
def test_the_whole_picture_lies_in_the_input(height, width):
    hw = network_hw((height, width), (320, 512))
    scale, x, y = letterbox((height, width), hw)
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]) * scale + (x, y)
    assert (corners >= -0.5 - 1e-6).all()
    assert (corners <= np.array([hw[1], hw[0]]) - 0.5 + 1e-6).all()


@pytest.mark.parametrize("hw", [(720, 1280), (480, 640), (333, 217), (90, 160)])
def test_a_dot_is_found_where_it_was(hw):
    """A soft dot drawn in the picture has its centre of mass at the mapped place of the input."""
    size = network_hw(hw, (320, 512))
    centre = np.array([0.37 * hw[1], 0.61 * hw[0]])
    rows, columns = np.mgrid[: hw[0], : hw[1]]
    sigma = max(hw) / 40
    dot = np.exp(-((columns - centre[0]) ** 2 + (rows - centre[1]) ** 2) / (2 * sigma**2))
    image = (
        np.repeat((114 + 140 * dot)[..., None], 3, 2).round().astype(np.uint8)
    )  # on the rim's grey
    small = resize(image, size)[..., 0].astype(float) - 114
    y, x = np.mgrid[: size[0], : size[1]]
    found = np.array([(small * x).sum(), (small * y).sum()]) / small.sum()
    affine = image_from_cell(hw, size)
    cell = (found - (STRIDE - 1) / 2) / STRIDE
    back = affine[:, :2] @ cell + affine[:, 2]
    assert np.abs(back - centre).max() < 0.15 * affine[0, 0] / STRIDE + 0.05


def test_normalise_is_the_stated_formula():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    expected = ((image / 255 - 0.45) / 0.25).transpose(2, 0, 1)
    np.testing.assert_allclose(normalise(image), expected, atol=1e-5)


def test_each_colour_has_its_own_mean_and_deviation():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    normalisation = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    expected = (image / 255 - normalisation.mean) / normalisation.std
    np.testing.assert_allclose(
        normalise(image, normalisation), expected.transpose(2, 0, 1), atol=1e-5
    )
