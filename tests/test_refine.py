"""The second look: places move with the picture, copies and nobody are dropped."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from tests.fakes import person as fake_person
from xnect.calib.camera import Camera
from xnect.errors import BadWeights
from xnect.model import bundled_weights, load_pipeline, load_refiner
from xnect.network import STRIDE, build_network
from xnect.peaks import best_cells, second_cells
from xnect.refine import RefineOptions, look, refine
from xnect.refiner import PERSON_PX, SIDE_PX, PersonMaps, Refiner, from_stage1
from xnect.skeleton import FLIP2D, FLIP3D, J2D
from xnect.squares import Square, cut, in_picture, px_per_m, squares, tilts, turns
from xnect.types import PartialPose

SIDE = SIDE_PX // 8
CODES = torch.from_numpy(np.random.default_rng(0).normal(size=(63, SIDE, SIDE)).astype(np.float32))


def somebody(middle: tuple[float, float], size: float, score: float = 0.9) -> PartialPose:
    """In T-pose, `size` pixels from wrist to wrist."""
    places = fake_person(1, 0.0, 4.0, Camera.guess(480, 640)).joints2d_px
    places[14:] = places[0]  # eyes and ears
    low, high = places.min(0), places.max(0)
    places = (places - (low + high) / 2) / (high - low).max()
    return PartialPose(
        (places * size + middle).astype(np.float32),
        np.full(18, score, np.float32),
        np.zeros((18, 63), np.float32),
        score,
    )


class Dots(torch.nn.Module):
    """Says that every joint is at the brightest cell of the picture, as sure as `sure`."""

    def __init__(self, sure: float = 0.9) -> None:
        super().__init__()
        self.sure = sure

    def forward(self, images):
        cells = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 8)
        best = cells.flatten(1).argmax(-1)
        people, _, h, w = cells.shape
        heatmaps = torch.full((people, 18, h * w), -8.0)
        heatmaps[torch.arange(people), :, best] = float(torch.logit(torch.tensor(self.sure)))
        offsets, codes = torch.zeros(people, 18, 2, h, w), CODES.expand(people, -1, -1, -1)
        return PersonMaps(heatmaps.unflatten(-1, (h, w)), offsets, codes)


@pytest.mark.parametrize("side", [60.0, 128.0, 300.0])
def test_a_cut_is_the_picture_seen_through_a_square(side):
    """A ramp stays a ramp: each pixel has the value of its place in the picture."""
    rows, columns = np.mgrid[:400, :400]
    picture = np.stack([columns * 0.6, rows * 0.6, rows * 0], -1).astype(np.uint8)
    middle = np.array([201.3, 188.7])
    out = cut(picture, middle, side)
    place = (np.arange(SIDE_PX) - (SIDE_PX - 1) / 2) * side / SIDE_PX
    inner = slice(10, -10)
    np.testing.assert_allclose(
        out[inner, inner, 0],
        np.tile((place + middle[0]) * 0.6, (SIDE_PX, 1))[inner, inner],
        atol=1.3,
    )
    np.testing.assert_allclose(
        out[inner, inner, 1],
        np.tile((place + middle[1]) * 0.6, (SIDE_PX, 1)).T[inner, inner],
        atol=1.3,
    )


@pytest.mark.parametrize("turn", [0.0, 0.7, -2.0, np.pi])
@pytest.mark.parametrize("side", [90.0, 700.0])
def test_a_turned_cut_leads_back_to_the_same_place(turn, side):
    """A dot of the picture, found in the input, is where the input says that it is."""
    picture = np.zeros((600, 700, 3), np.uint8)
    place = np.array([330.0, 260.0]) + 0.2 * side * np.array([0.8, -0.5])
    cv2.circle(
        picture, tuple(np.rint(place).astype(int).tolist()), round(side / 20), (255,) * 3, -1
    )
    where = Square(np.array([[330.0, 260.0]]), np.array([side]), np.array([turn]))
    seen = cut(picture, where.centre_px[0], side, turn)[..., 0] > 160  # brighter than the margin
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    pixel = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
    cell = (pixel - (STRIDE - 1) / 2) / STRIDE
    back = in_picture(cell[None, None], where)[0, 0]
    np.testing.assert_allclose(back, np.rint(place), atol=side / SIDE_PX)
    down = turns(where.turn_rad)[0] @ (0, 1)
    np.testing.assert_allclose(down, (-np.sin(turn), np.cos(turn)), atol=1e-12)


@pytest.mark.parametrize("turn", [0.0, 0.4, -1.5, 3.0])
def test_the_tilt_is_the_turn_of_an_upright_trunk(turn):
    joints = np.random.default_rng(0).normal(size=(2, 18, 2))
    for side, x in (("left", 1), ("right", -1)):
        joints[0, J2D[f"{side}_shoulder"]] = (12 * x, -30)
        joints[0, J2D[f"{side}_hip"]] = (8 * x, 30)
    (turned,) = turns(np.array([turn]))
    score = np.ones((2, 18))
    score[1, J2D["left_hip"]] = 0
    tilt = tilts(joints @ turned.T + 100, score)
    assert tilt[0] == pytest.approx(turn) and np.isnan(tilt[1])


class Gymnast(torch.nn.Module):
    """Knows a body by its white head, which it puts on top; sure of it only when upright."""

    def __init__(self):
        super().__init__()
        self.place = torch.nn.Parameter(torch.zeros(()))
        self.looks = 0

    def forward(self, images):
        self.looks += len(images)
        light = images.mean(1).clamp_min(0)
        axis = torch.arange(SIDE_PX).float() - (SIDE_PX - 1) / 2
        x, y = (light.sum(1) * axis).sum(1), (light.sum(2) * axis).sum(1)
        head = torch.atan2(x, -y)  # 0: above the middle
        logits = torch.full((len(images), 18, SIDE, SIDE), -6.0)
        for n, angle in enumerate(head.tolist()):
            shown = BODY @ turns(np.array([angle]))[0].T / 8 + (SIDE - 1) / 2
            for joint, (column, row) in enumerate(np.floor(shown).astype(int)):
                cells = logits[n, joint, row : row + 2, column : column + 2]
                cells[:] = 2.0 if abs(angle) < 0.3 else 0.0
        up = torch.zeros(len(images), 3, 21, SIDE, SIDE)
        up[:, 1] = -1.0  # every bone points up in the input
        offsets = torch.zeros(len(images), 18, 2, SIDE, SIDE)
        return PersonMaps(logits, offsets, up.flatten(1, 2))


BODY = np.array(
    [(0, -48), (0, -32), (-16, -32), (-24, -16), (-24, 0), (16, -32), (24, -16), (24, 0),
     (-8, 8), (-8, 24), (-8, 48), (8, 8), (8, 24), (8, 48),
     (-8, -48), (8, -48), (-16, -48), (16, -48)], float,
)  # fmt: skip


@pytest.mark.parametrize("angle", [0.2, 1.2, 3.0])
def test_who_is_tilted_is_looked_at_upright_and_the_surer_look_counts(angle):
    """Joints and bones come back in the picture's axes; without the flip test nothing is turned."""
    picture = np.zeros((320, 320, 3), np.uint8)
    up = np.array([np.sin(angle), -np.cos(angle)])
    head = np.rint(np.array([160.0, 160.0]) + 50 * up).astype(int)
    cv2.circle(picture, tuple(head.tolist()), 10, (255, 255, 255), -1)
    start, network = [somebody((160, 160), 110.0)], Gymnast()
    options = RefineOptions(flip_rounds=1, flip_test=True, turns_rad=(0.0,))
    (found,) = refine(start, picture, network, options=options)
    turned = abs(angle) > options.tilt_rad
    assert network.looks == (6 if turned else 4)  # each mirrored as well, one wider
    assert found.score[2:14].mean() == pytest.approx(0.88, abs=0.02)
    body = BODY @ turns(np.array([angle]))[0].T * 110 / PERSON_PX + 160
    np.testing.assert_allclose(found.joints_px[:14], body[:14], atol=9)
    bone = found.codes.reshape(18, 3, 21)[J2D["left_knee"], :, 0]
    np.testing.assert_allclose(bone, (*(up if turned else (0, -1)), 0), atol=0.15)
    (plain,) = refine(
        start, picture, Gymnast(), options=replace(options, rounds=1, flip_test=False)
    )
    assert plain.score[2:14].mean() < 0.6 or not turned


class Lamp(Dots):
    """Sure of somebody where it sees a light."""

    def forward(self, images):
        maps = super().forward(images)
        lit = images.amax((1, 2, 3)) > 0
        return maps._replace(heatmaps=torch.where(lit[:, None, None, None], maps.heatmaps, -8.0))


def test_who_lies_beyond_the_first_box_is_seen_by_a_wider_look():
    """For single pictures; a stream has the box of the last frame."""
    picture = np.zeros((320, 320, 3), np.uint8)
    cv2.circle(picture, (160, 247), 8, (255, 255, 255), -1)
    start = [somebody((160, 160), 110.0)]  # its square ends at 236
    options = RefineOptions(flip_test=True, turns_rad=(0.0,))
    (found,) = refine(start, picture, Lamp(), options=options)
    np.testing.assert_allclose(found.joints_px, np.tile((160, 247), (18, 1)), atol=8)
    assert not refine(start, picture, Lamp(), options=replace(options, wider=1.0))
    assert not refine(start, picture, Lamp(), options=replace(options, flip_test=False))


def test_the_mean_of_turned_looks_is_in_the_axes_of_the_picture():
    """A body that each look sees as the picture has it stays as it is, joints and bones.

    Its size is that of the input, whose square the last looks choose anew.
    """
    picture = np.zeros((320, 320, 3), np.uint8)
    up = np.array([np.sin(0.15), -np.cos(0.15)])
    head = np.rint(np.array([160.0, 160.0]) + 50 * up).astype(int)
    cv2.circle(picture, tuple(head.tolist()), 10, (255, 255, 255), -1)
    options = RefineOptions(flip_rounds=1, flip_test=True, turns_rad=(0.0, -0.1, 0.1))
    network = Gymnast()
    (found,) = refine([somebody((160, 160), 110.0)], picture, network, options=options)
    assert network.looks == 10  # two, two wider, then three mirrored and not
    body, there = BODY[:14] @ turns(np.array([0.15]))[0].T, found.joints_px[:14] - 160.0
    size = (there * body).sum() / (body * body).sum()
    assert 0.6 < size < 110 / PERSON_PX
    np.testing.assert_allclose(there, size * body, atol=6)
    mirrored_ones = RefineOptions(flip_rounds=1, flip_test=True, turns_rad=(0.0,))
    (one,) = refine([somebody((160, 160), 110.0)], picture, Gymnast(), options=mirrored_ones)
    np.testing.assert_allclose(found.codes[:14], one.codes[:14], atol=0.02)


def test_beyond_the_picture_is_grey():
    picture = np.full((50, 50, 3), 255, np.uint8)
    out = cut(picture, np.array([0.0, 25.0]), 40.0)
    assert (out[:, :62] == 114).all()
    assert (out[:, 100:] == 255).all()
    assert (cut(picture, np.array([500.0, 25.0]), 40.0) == 114).all()


@pytest.mark.parametrize("place", [(150, 110), (173, 97)])
@pytest.mark.parametrize("size", [60.0, 140.0])
def test_joints_come_back_to_where_they_are_in_the_picture(place, size):
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, place, 8, (255, 255, 255), -1)
    found = refine([somebody((160, 105), size)], picture, Dots())
    cell = 8 * size / PERSON_PX
    off = np.abs(found[0].joints_px - place).max()
    assert off <= max(8, cell)  # the dot's radius, or the cell


def test_codes_are_those_of_the_refiner_at_the_joints():
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (150, 110), 8, (255, 255, 255), -1)
    found = refine([somebody((160, 105), 100.0)], picture, Dots())[0]
    assert any(np.array_equal(found.codes[3], code) for code in CODES.flatten(1).T.numpy())


def test_codes_turn_with_the_bearing_of_the_person():
    """The refiner's vectors are those seen by a camera that faces the person."""
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (290, 110), 8, (255, 255, 255), -1)
    people, camera = [somebody((285, 105), 60.0)], Camera.guess(240, 320)
    facing = refine(people, picture, Dots())[0]
    seen = refine(people, picture, Dots(), camera)[0]
    x, y = camera.rays(facing.joints_px.astype(float)).mean(0)
    ahead = np.array([x, y, 1]) / np.linalg.norm([x, y, 1])
    vectors, turned = (one.codes.reshape(18, 3, 21) for one in (facing, seen))
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-4
    )
    # what lies along the axis of that camera lies along the ray of the person
    np.testing.assert_allclose(np.einsum("i,jik->jk", ahead, turned), vectors[:, 2], atol=1e-4)


def test_two_fragments_of_one_person_become_one():
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (150, 110), 8, (255, 255, 255), -1)
    people = [somebody((155, 105), 100.0), somebody((153, 107), 90.0)]
    assert len(refine(people, picture, Dots())) == 1
    apart = [somebody((60, 105), 100.0), somebody((260, 115), 100.0)]
    for one in apart:
        cv2.circle(picture, tuple(one.joints_px[0].astype(int).tolist()), 8, (255,) * 3, -1)
    assert len(refine(apart, picture, Dots())) == 2


def test_where_the_refiner_sees_nobody_there_is_nobody():
    picture = np.zeros((240, 320, 3), np.uint8)
    people = [somebody((155, 105), 100.0)]
    assert refine(people, picture, Dots(0.05)) == []
    assert refine([], picture, Dots()) == []


def test_somebody_behind_another_stays_as_stage_1_saw_them():
    """Where the refiner sees the one in front twice, two whole people do not become one."""
    picture = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(picture, (150, 110), 8, (255, 255, 255), -1)
    seen, lost = somebody((140, 105), 100.0), somebody((172, 113), 100.0, 0.7)
    for people in ([seen, lost], [lost, seen]):  # whichever of the two looks comes first
        found = refine(people, picture, Dots())
        assert len(found) == 2
        assert any(one is lost for one in found)
        assert not any(one is seen for one in found)


def test_a_limb_is_not_a_person_of_its_own():
    class Body(torch.nn.Module):
        """Everybody it is shown fills the input."""

        def forward(self, images):
            places = somebody(((SIDE_PX - 1) / 2, (SIDE_PX - 1) / 2), PERSON_PX).joints_px
            heatmaps = torch.full((len(images), 18, SIDE, SIDE), -8.0)
            for joint, (x, y) in enumerate(places):
                heatmaps[:, joint, int(y // 8), int(x // 8)] = 2.0
            offsets = torch.zeros(len(images), 18, 2, SIDE, SIDE)
            return PersonMaps(heatmaps, offsets, torch.zeros(len(images), 63, SIDE, SIDE))

    picture = np.zeros((240, 320, 3), np.uint8)
    hand = somebody((140, 110), 25.0)
    found = refine([somebody((160, 105), 180.0), hand], picture, Body())
    assert len(found) == 1
    beside = somebody((300, 105), 25.0)
    found = refine([somebody((130, 105), 180.0), beside], picture, Body())
    assert len(found) == 2


def test_a_fragment_is_looked_at_with_room_for_its_body():
    """Head and shoulders alone: the square has room for a torso of that scale."""
    whole = somebody((100, 100), 100.0)
    score = np.zeros((1, 18))
    score[0, [1, 2, 5]] = 1
    joints = whole.joints_px[None].astype(float)
    joints[0, [1, 2, 5]] = (100, 100), (82, 100), (118, 100)
    where = squares(joints, score, smallest_m=RefineOptions().smallest_m)
    scale = px_per_m(joints, score)
    assert scale[0] == pytest.approx(18 / 0.178, rel=0.3)  # neck to shoulder
    assert where.side_px[0] >= 0.6 * scale[0] * SIDE_PX / PERSON_PX - 1e-9


def test_best_cells_follow_the_offsets():
    heatmaps, offsets = np.zeros((1, 2, 16, 16)), np.zeros((1, 2, 2, 16, 16))
    heatmaps[0, 0, 5, 7], heatmaps[0, 1, 0, 15] = 0.8, 0.4
    offsets[0, 0, :, 5, 7] = 0.25, -0.5
    cells, score = best_cells(heatmaps, offsets)
    np.testing.assert_allclose(cells[0], [[7.25, 4.5], [15, 0]])
    np.testing.assert_allclose(score[0], [0.8, 0.4])


def test_offsets_that_are_no_numbers_where_no_joint_is_move_nothing():
    heatmaps, offsets = np.zeros((1, 1, 16, 16)), np.full((1, 1, 2, 16, 16), np.inf)
    heatmaps[0, 0, 5, 7], offsets[0, 0, :, 5, 7] = 0.8, (0.25, -0.5)
    np.testing.assert_allclose(best_cells(heatmaps, offsets)[0][0], [[7.25, 4.5]])


def test_second_cells_are_the_next_peak_and_not_the_slope_of_the_first():
    heatmaps, offsets = np.zeros((1, 3, 16, 16)), np.zeros((1, 3, 2, 16, 16))
    y, x = np.mgrid[:16, :16]
    for joint, peaks in enumerate([[(3, 4, 0.9), (10, 12, 0.5)], [(8, 8, 0.7)], [(5, 5, 0.6)]]):
        for row, column, value in peaks:
            blob = value * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 8)
            heatmaps[0, joint] = np.maximum(heatmaps[0, joint], blob)
    heatmaps[0, 2, 5, 7] = 0.5  # a bump beside the best cell
    heatmaps[heatmaps < 1e-3] = 0
    cells, score = second_cells(heatmaps, offsets)
    np.testing.assert_allclose(cells[0, 0], [12, 10], atol=0.1)
    assert score[0, 0] == pytest.approx(0.5)
    assert (score[0, 1:] < 0.01).all()


def test_the_flip_test_of_a_mirrored_picture_is_mirrored():
    torch.manual_seed(0)
    refiner = Refiner().eval()
    inputs = np.random.default_rng(2).normal(size=(2, 3, 64, 64)).astype(np.float32)
    heat, way, codes = look(refiner, inputs, flip_test=True)
    turned = np.ascontiguousarray(inputs[..., ::-1])
    heat2, way2, codes2 = look(refiner, turned, flip_test=True)
    joints = list(FLIP2D)
    np.testing.assert_allclose(heat2[..., ::-1][:, joints], heat, atol=1e-5)
    back = way2[..., ::-1][:, joints] * np.array([-1.0, 1.0])[:, None, None]
    np.testing.assert_allclose(back, way, atol=1e-5)
    bones = codes2[..., ::-1].reshape(2, 3, 21, 8, 8)[:, :, list(FLIP3D)]
    bones = bones * np.array([-1.0, 1.0, 1.0])[:, None, None, None]
    np.testing.assert_allclose(bones.reshape(codes.shape), codes, atol=1e-5)


def test_a_refiner_starts_from_stage_1():
    """The weights fill the whole refiner, and the joints' maps are those of Stage I."""
    network = build_network("s").eval()
    refiner = Refiner().eval()
    missing = refiner.load_state_dict(from_stage1(network.state_dict()), strict=True)
    assert not missing.missing_keys
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, seen = network(images), refiner(images)
    torch.testing.assert_close(seen.heatmaps, maps.heatmaps)
    torch.testing.assert_close(seen.offsets, maps.offsets)
    torch.testing.assert_close(seen.codes, maps.codes)


def test_weights_of_another_network_are_refused():
    with pytest.raises(BadWeights, match="architecture"):
        load_refiner(bundled_weights("s"))


def test_the_bundled_refiner_is_used_by_default():
    assert load_pipeline().refiner is not None
    assert load_pipeline(refine=False).refiner is None
