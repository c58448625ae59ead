"""Pictures as timm's evaluation would see them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

Image = pytest.importorskip("PIL.Image", reason="transforms work on Pillow pictures")

from xnect.backbones.pretrained import PRETRAINED, PretrainedConfig  # noqa: E402
from xnect.backbones.transforms import (  # noqa: E402
    evaluation_transform,
    resized_and_cropped,
    resized_hw,
)

SELECSLS = PRETRAINED["selecsls42b.in1k"]
CONFIGS = {
    **{name: PRETRAINED[name] for name in (
        "selecsls42b.in1k", "hrnet_w18.ms_aug_in1k", "resnest101e.in1k", "resnest269e.in1k"
    )},
    "wide": replace(SELECSLS, input_hw=(96, 160)),
    "tall, lanczos": replace(SELECSLS, input_hw=(130, 61), interpolation="lanczos"),
    "padded": replace(SELECSLS, input_hw=(65, 65), crop_pct=1.3),
    "padded and wide": replace(SELECSLS, input_hw=(65, 98), crop_pct=1.3, mean=(0.5, 0.4, 0.3)),
}  # fmt: skip
SIZES_HW = [(375, 500), (301, 257), (97, 400), (500, 60), (256, 256), (37, 37), (224, 224), (1, 3)]
MODES = ["RGB", "L", "LA", "RGBA", "P", "PA", "CMYK", "1", "I;16", "YCbCr"]


def picture(height: int, width: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Noise on a slope, so that every kernel and every shift shows."""
    noise = np.random.default_rng(seed).integers(0, 90, (height, width, 4))
    slope = np.linspace(0, 165, width)[None, :, None] + np.zeros((height, 1, 1))
    values = (noise + slope).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    if mode in ("RGBA", "CMYK"):
        return Image.fromarray(values, mode if mode == "RGBA" else None).convert(mode)
    rgb = Image.fromarray(values[..., :3])
    if mode == "PA":
        return rgb.convert("P").convert("PA")
    return rgb.convert(mode)


def reference(image: Image.Image, config: PretrainedConfig) -> np.ndarray:
    """(3, H, W): the documented arithmetic of timm and torchvision, said another way."""
    (height, width), (w, h) = config.input_hw, image.size
    short_h, short_w = (math.floor(side / config.crop_pct) for side in config.input_hw)
    if short_h == short_w:
        new_w, new_h = (
            (short_w, int(short_w * h / w)) if w <= h else (int(short_h * w / h), short_h)
        )
    else:
        scale = min(h / short_h, w / short_w)
        new_w, new_h = round(w / scale), round(h / scale)
    kernel = getattr(Image.Resampling, config.interpolation.upper())
    pixels = np.asarray(image.convert("RGB").resize((new_w, new_h), kernel), np.float64)
    more_h, more_w = max(height - new_h, 0), max(width - new_w, 0)
    around = (more_h // 2, (more_h + 1) // 2), (more_w // 2, (more_w + 1) // 2), (0, 0)
    pixels = np.pad(pixels, around)
    top = round((pixels.shape[0] - height) / 2)
    left = round((pixels.shape[1] - width) / 2)
    pixels = pixels[top : top + height, left : left + width]
    return ((pixels / 255 - config.mean) / config.std).transpose(2, 0, 1)


def assert_equal_to(
    expected: Callable[[Image.Image, PretrainedConfig], np.ndarray],
    image: Image.Image,
    config: PretrainedConfig,
) -> None:
    ours = evaluation_transform(config)(image)
    assert ours.shape == (3, *config.input_hw)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), expected(image, config), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hw", SIZES_HW, ids=str)
def test_pixels_equal_the_reference(name: str, hw: tuple[int, int]) -> None:
    assert_equal_to(reference, picture(*hw), CONFIGS[name])


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb_as_pillow_converts_it(mode: str) -> None:
    image = picture(60, 81, mode)
    assert image.mode == mode
    assert_equal_to(reference, image, replace(SELECSLS, input_hw=(32, 32)))


def timm_transform(image: Image.Image, config: PretrainedConfig) -> np.ndarray:
    from timm.data import create_transform

    transform = create_transform(
        (3, *config.input_hw), is_training=False, interpolation=config.interpolation,
        mean=config.mean, std=config.std, crop_pct=config.crop_pct,
    )  # fmt: skip
    return transform(image.convert("RGB")).numpy()  # timm's dataset converts first


@pytest.mark.skipif(
    not (find_spec("timm") and find_spec("torchvision")),
    reason="timm's own transform needs timm and a real torchvision",
)
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hw", SIZES_HW, ids=str)
def test_pixels_equal_timm(name: str, hw: tuple[int, int]) -> None:
    image = picture(*hw)
    assert_equal_to(timm_transform, image, CONFIGS[name])
    ours = evaluation_transform(CONFIGS[name])(image).numpy()
    np.testing.assert_array_equal(ours, timm_transform(image, CONFIGS[name]))


def test_the_model_card_sizes() -> None:
    assert resized_hw((375, 500), (224, 224), 0.875) == (256, 341)
    assert resized_hw((500, 375), (224, 224), 0.95) == (313, 235)  # 235 * 4 / 3 = 313.33
    assert resized_hw((480, 640), (256, 256), 0.875) == (292, 389)


@pytest.mark.parametrize(("width", "left"), [(256, 16), (257, 16), (259, 18), (341, 58), (343, 60)])
def test_the_crop_is_central_and_halves_go_to_the_even_pixel(width: int, left: int) -> None:
    columns = np.broadcast_to(np.arange(width) % 256, (256, width)).astype(np.uint8)
    pixels = resized_and_cropped(Image.fromarray(columns), SELECSLS)
    assert pixels.dtype == torch.uint8
    np.testing.assert_array_equal(pixels[0, 0], np.arange(left, left + 224) % 256)


@given(value=st.integers(0, 255), height=st.integers(1, 90), width=st.integers(1, 90))
@settings(max_examples=25, deadline=None)
def test_a_plain_picture_stays_plain(value: int, height: int, width: int) -> None:
    config = replace(SELECSLS, input_hw=(24, 24))
    pixels = evaluation_transform(config)(Image.new("L", (width, height), value))
    expected = (value / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
    torch.testing.assert_close(pixels, expected.view(3, 1, 1).expand(3, 24, 24))


def test_exif_orientation_is_left_to_the_caller() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    file = io.BytesIO()
    picture(40, 60).save(file, "PNG", exif=exif)
    turned = Image.open(file)
    assert turned.getexif()[0x0112] == 6
    assert_equal_to(reference, picture(40, 60), SELECSLS)
    ours = evaluation_transform(SELECSLS)(turned)
    torch.testing.assert_close(ours, evaluation_transform(SELECSLS)(picture(40, 60)))


def test_the_picture_is_not_changed() -> None:
    image = picture(50, 70)
    before = image.tobytes()
    evaluation_transform(replace(SELECSLS, input_hw=(16, 16)))(image)
    assert image.tobytes() == before
    assert image.size == (70, 50)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"interpolation": "cubic"}, "unknown interpolation 'cubic'; known: nearest, box"),
        ({"input_hw": (0, 224)}, "must be positive, got \\(0, 224\\)"),
        ({"crop_pct": 0.0}, "must be positive"),
    ],
)
def test_impossible_configurations_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        evaluation_transform(replace(SELECSLS, **change))


def test_a_picture_like_a_thread_is_refused_before_memory_runs_out() -> None:
    with pytest.raises(ValueError, match="9000x1 is too long and narrow"):
        evaluation_transform(SELECSLS)(Image.new("L", (9000, 1)))
