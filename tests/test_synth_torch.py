"""The renderer in torch gives the pictures of the compiled kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from xnect.errors import BadInput, UnknownName

pytest.importorskip("numba", reason="rendering needs the extra 'train'")

from xnect.synth.assets import Assets
from xnect.synth.body import random_person
from xnect.synth.labels import OUTSIDE
from xnect.synth.render import Renderer, renderer
from xnect.synth.scene import Scene, SceneOptions, random_scene
from xnect.synth.torch_raster import candidates, shadow_maps, z_buffer
from xnect.synth.torch_render import TorchRenderer

PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "synth"
SMALL = SceneOptions(width_px=128, height_px=80, people_shares=(0, 0.5, 0.5), carried_share=0.7)
KINDS = {
    "room": replace(SMALL, room_share=1.0),
    "ground": replace(SMALL, room_share=0.0, photo_uses=("view",)),
    "photo": replace(SMALL, room_share=0.0, photo_uses=("floor",), photo_floor_share=1.0),
    "empty": replace(SMALL, room_share=1.0, people_shares=(1.0,)),
}


@pytest.fixture(scope="module")
def scenes(assets: Assets) -> dict[str, Scene]:
    rng = np.random.default_rng(3)
    pool = [random_person(assets, rng) for _ in range(3)]
    return {name: random_scene(assets, rng, pool, options=o) for name, o in KINDS.items()}


@pytest.mark.parametrize("supersampling", [1, 2])
def test_pictures_maps_and_labels_are_those_of_the_kernels(assets, scenes, supersampling):
    kernels = Renderer(assets, supersampling=supersampling, shadow_px=256)
    other = TorchRenderer(assets, supersampling=supersampling, shadow_px=256)
    for name, two in zip(scenes, other.pictures(list(scenes.values())), strict=True):
        one = kernels(scenes[name])
        same = one.owner == two.owner
        assert same.mean() > 0.998, name
        near = np.abs(one.distance_m - two.distance_m) < 0.01
        assert near.mean() > 0.99, name
        away = np.abs(one.image.astype(int) - two.image)
        assert away.mean() < 0.6, name
        assert np.percentile(away, 99) <= 8, name
        differs = one.labels.visibility != two.labels.visibility
        assert differs.mean() <= 0.05 if differs.size else True, name
        np.testing.assert_allclose(one.labels.joints2d_px, two.labels.joints2d_px)
    with_people = kernels(scenes["room"])
    assert (with_people.labels.visibility != OUTSIDE).any()


def test_a_picture_does_not_depend_on_its_batch(assets, scenes):
    draw = TorchRenderer(assets, supersampling=1, shadow_px=128)
    together = draw.pictures([scenes["room"], scenes["ground"]])
    for one, name in zip(together, ("room", "ground"), strict=True):
        alone = draw(scenes[name])
        np.testing.assert_array_equal(alone.owner, one.owner)
        assert np.abs(alone.image.astype(int) - one.image).max() <= 1


def test_the_nearest_triangle_wins_and_of_two_alike_the_first():
    near = torch.tensor([[0.0, 0, 0.5], [9, 0, 0.5], [0, 9, 0.5]])
    far = torch.tensor([[0.0, 0, 0.25], [20, 0, 0.25], [0, 20, 0.25]])
    screen = torch.cat([far, near, near])
    triangles = torch.arange(9).reshape(3, 3)
    picture = torch.zeros(3, dtype=torch.int64)
    out = z_buffer(
        screen, triangles, picture, torch.zeros(3), torch.full((3,), -1), torch.zeros(9, 2),
        torch.zeros((1, 4, 4, 4), dtype=torch.uint8), pictures=1, height=10, width=10,
    )[0]  # fmt: skip
    assert out[0, 0] == 1
    assert out[9, 9] == 0
    assert out[7, 1] == 1
    assert set(out.unique().tolist()) == {0, 1}
    hidden = screen.clone()
    hidden[3, 2] = 0  # a corner behind the camera
    hidden[6, 2] = 0
    out = z_buffer(
        hidden, triangles, picture, torch.zeros(3), torch.full((3,), -1), torch.zeros(9, 2),
        torch.zeros((1, 4, 4, 4), dtype=torch.uint8), pictures=1, height=10, width=10,
    )  # fmt: skip
    assert set(out.unique().tolist()) == {0}


def test_candidates_are_the_pixels_whose_centres_are_inside(monkeypatch):
    import xnect.synth.torch_raster as raster

    rng = np.random.default_rng(0)
    xy = torch.from_numpy(rng.uniform(-4, 24, (60, 2)).astype(np.float32))
    triangles = torch.arange(60).reshape(20, 3)
    picture = torch.arange(20) % 2
    usable = torch.ones(20, dtype=torch.bool)
    slow = set()
    for t, (a, b, c) in enumerate(xy.numpy().astype(float)[triangles.numpy()]):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        for y in range(16):
            for x in range(20):
                dx, dy = x + 0.5 - a[0], y + 0.5 - a[1]
                wb = ((c[1] - a[1]) * dx - (c[0] - a[0]) * dy) / area
                wc = ((b[0] - a[0]) * dy - (b[1] - a[1]) * dx) / area
                if min(wb, wc, 1 - wb - wc) >= 0:
                    slow.add((t, ((t % 2) * 16 + y) * 20 + x))
    for most in (1 << 24, 50):  # all at once, and in parts
        monkeypatch.setattr(raster, "MOST_CANDIDATES", most)
        found = list(candidates(xy, triangles, picture, usable, height=16, width=20))
        pairs = [p for c in found for p in zip(c.triangle.tolist(), c.cell.tolist(), strict=True)]
        assert len(pairs) == len(set(pairs))
        assert set(pairs) == slow
    assert len(slow) > 300
    assert len(found) > 3


def test_a_shadow_map_keeps_the_nearest_depth():
    points = torch.tensor([[0.0, 0, 3], [8, 0, 3], [0, 8, 3], [0, 0, 2], [4, 0, 2], [0, 4, 2]])
    triangles = torch.arange(6).reshape(2, 3)
    depth = shadow_maps(points, triangles, torch.zeros(2, dtype=torch.int64), pictures=1, size=8)[0]
    assert depth[0, 0] == 2
    assert depth[1, 5] == 3
    assert depth[7, 7] == 1e6


def test_back_ends_are_named_and_a_batch_has_one_size(assets, scenes):
    with pytest.raises(UnknownName, match="torch"):
        renderer(assets, backend="vulkan")
    draw = renderer(assets, backend="torch", device="cpu")
    camera = replace(scenes["empty"].view.camera, width_px=64)
    other = replace(scenes["empty"], view=replace(scenes["empty"].view, camera=camera))
    with pytest.raises(BadInput, match="one size"):
        draw.pictures([scenes["empty"], other])


def test_a_network_can_learn_from_what_is_drawn(assets, scenes):
    """Pictures that are drawn while training: no inference tensors."""
    drawn = TorchRenderer(assets).draw(list(scenes.values())[:1])
    weight = torch.zeros((), requires_grad=True)
    (drawn.image * weight).sum().backward()
    assert weight.grad is not None
