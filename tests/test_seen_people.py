"""What the refiner says of people whose pose is known: the evidence fits the truth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from xnect.errors import BadInput
from xnect.heads.lift import Lifter
from xnect.lift import CARRIED, CARRIED_BONES, N_FEATURES, encode
from xnect.refiner import SIDE_PX, PersonMaps
from xnect.skeleton import BODY, BONE_PARENTS, CODE_UNIT_M, J2D, ROOT, SEEN_AS
from xnect.train.crops import PersonCrops
from xnect.train.person_augment import RefinerAugment, augment_person
from xnect.train.person_crops import facing
from xnect.train.samples import SEEN
from xnect.train.seen_people import (
    draw_seen,
    load_seen,
    main,
    pinhole,
    save_seen,
    seen_error_mm,
    watch,
)

FOCAL, MIDDLE = 110.0, np.array([95.5, 95.5])


def standing(count: int, seed: int = 0) -> np.ndarray:
    """(P, 21, 3) disturbed rest poses, 1.5 to 4 m before the camera."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((21, 3))
    for j in BODY.order:
        if j != ROOT:
            joints[j] = joints[BODY.parents[j]] + BODY.offsets_m[j] * (1, -1, -1)
    place = rng.uniform((-0.3, -0.3, 2.5), (0.3, 0.3, 4), (count, 3))
    return joints + rng.normal(0, 0.05, (count, 21, 3)) + place[:, None]


@pytest.fixture(name="crops")
def made_crops() -> PersonCrops:
    """Cut-outs of one grey each; the face is at the head."""
    people = np.stack([facing(p) for p in standing(6)])
    flat = FOCAL * people[..., :2] / people[..., 2:] + MIDDLE
    index = [SEEN_AS.index(j) if j in SEEN_AS else 15 for j in range(18)]
    images = np.zeros((6, 192, 192, 3), np.uint8)
    state = np.full((6, 18), SEEN, np.int8)
    return PersonCrops(images, flat[:, index], state, people, np.ones((6, 21)))


class Knowing(torch.nn.Module):
    """A refiner that knows what it is shown, in the order in which it is shown."""

    def __init__(self, crops: PersonCrops, seed: int) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(crops.images))
        self.people = [augment_person(rng, crops, int(i), RefinerAugment()) for i in order]

    def forward(self, images: torch.Tensor) -> PersonMaps:
        side = SIDE_PX // 8
        heat = torch.full((len(images), 18, side, side), -12.0)
        offsets = torch.zeros(len(images), 18, 2, side, side)
        codes = torch.zeros(len(images), 63, side, side)
        for p, seen in enumerate(self.people):
            cells = torch.as_tensor((seen.joints_px - 3.5) / 8)
            x, y = cells.round().long().clamp(0, side - 1).unbind(-1)
            inside = ((seen.joints_px > -0.5) & (seen.joints_px < SIDE_PX - 0.5)).all(-1)
            heat[p, range(18), y, x] = torch.where(torch.as_tensor(inside), 4.0, -12.0)
            offsets[p, range(18), :, y, x] = (cells - torch.stack([x, y], -1)).float()
            bones = seen.joints3d_m - seen.joints3d_m[list(BONE_PARENTS)]
            codes[p] = torch.as_tensor(bones.T.ravel() / CODE_UNIT_M)[:, None, None]
        return PersonMaps(heat, offsets, codes)


def test_the_camera_of_a_projection_is_found():
    joints = standing(1)[0]
    pixels = 300 * joints[:, :2] / joints[:, 2:] + (40, 70)
    index = [SEEN_AS.index(j) if j in SEEN_AS else 15 for j in range(18)]
    found = pinhole(pixels[index], joints)
    assert found is not None
    assert found[0] == pytest.approx(300)
    np.testing.assert_allclose(found[1], (40, 70))
    assert pinhole(pixels[index] * (1, -1), joints) is None
    assert pinhole(pixels[index], joints - joints[ROOT]) is None


def test_the_evidence_of_a_perfect_refiner_is_the_projected_truth(crops):
    seen = watch(Knowing(crops, 3), crops, 3)
    assert len(seen.rays) == 6
    points = seen.joints_m + torch.nn.functional.pad(seen.metres[:, None, None], (2, 0))
    index = [(j2, SEEN_AS.index(j2)) for j2 in range(2, 14)]
    for p in range(6):
        for j2, j3 in index:
            if seen.score[p, j2] > 0 and points[p, j3, 2] > 0:
                # the place of the pelvis across the view is not part of the evidence
                mean = (points[p, j3, :2] - points[p, 8, :2]) / points[p, 8, 2]
                way = seen.rays[p, j2] - seen.rays[p, J2D["right_hip"]]
                if seen.score[p, J2D["right_hip"]] > 0:
                    assert (way - mean).norm() < 0.25 * max(float(mean.norm()), 0.05)
    bones = (seen.joints_m - seen.joints_m[:, list(BONE_PARENTS)])[:, CARRIED_BONES] / CODE_UNIT_M
    told = seen.codes.abs().sum(-1) > 0
    assert told.any()
    torch.testing.assert_close(seen.codes[told], bones[told], atol=1e-4, rtol=1e-4)


def test_mirrored_people_have_mirrored_evidence(crops):
    """The lifter's answer to mirrored evidence is the mirror image, so its error stays."""
    torch.manual_seed(0)
    lifter = Lifter(N_FEATURES, root=ROOT, width=32, blocks=1).eval()
    seen = watch(Knowing(crops, 4), crops, 4)
    assert seen.codes.shape[1:] == (len(CARRIED), 3)

    class Fixed:
        """Every person once, then mirrored; a camera that is known."""

        def __init__(self, mirrored: float) -> None:
            self.calls, self.mirrored = 0, mirrored

        def integers(self, most: int, size: int) -> np.ndarray:
            return np.arange(size) % most

        def random(self, size: int) -> np.ndarray:
            self.calls += 1
            return np.full(size, (1 - self.mirrored, 1.0, 1.0)[self.calls - 1])

        def normal(self, size: int) -> np.ndarray:
            return np.zeros(size)

    errors = [seen_error_mm(lifter, draw_seen(seen, 6, Fixed(m))) for m in (0.0, 1.0)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-4)
    features = encode(seen.rays, seen.score, seen.codes, seen.known).features
    assert torch.isfinite(features).all()


def test_what_was_seen_is_read_back(crops, tmp_path):
    seen = watch(Knowing(crops, 5), crops, 5)
    save_seen(tmp_path / "seen.npz", seen, "research")
    again, lane = load_seen(tmp_path / "seen.npz")
    assert lane == "research"
    for one, two in zip(seen, again, strict=True):
        assert torch.equal(one, two)
    with pytest.raises(BadInput, match="no such file"):
        load_seen(tmp_path / "none.npz")


def test_cut_outs_without_a_place_before_the_camera_are_refused(crops):
    """Such as photographs, whose bones a teacher guessed round the pelvis."""
    round_pelvis = replace(crops, joints3d_m=crops.joints3d_m - crops.joints3d_m[:, [ROOT]])
    with pytest.raises(BadInput, match="of 6 cut-outs none"):
        watch(Knowing(crops, 1), round_pelvis, 1)


@pytest.mark.parametrize("looks", ["0", "-1"])
def test_nobody_is_seen_without_a_look(looks, tmp_path, capsys):
    words = ["--people", str(tmp_path), "-o", str(tmp_path / "seen.npz"), "--looks", looks]
    assert main(words) == 2
    assert f"looks must be 1 or more, got {looks}" in capsys.readouterr().err
