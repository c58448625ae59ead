"""3D guesses for people who are labelled in 2D only."""

from __future__ import annotations

import numpy as np
import pytest

from xnect.errors import BadInput
from xnect.lift import load_lifter
from xnect.model import bundled
from xnect.skeleton import FLIP2D, FLIP3D, J3D, REFERENCE_CHAIN_M, chain_m
from xnect.train.crops import read_person_crops
from xnect.train.lifted_labels import GUESS_WEIGHT, add_guesses, lifted, main
from xnect.train.samples import ABSENT, SEEN

STANDING = np.array(
    [
        (120, 40), (120, 70), (100, 70), (92, 105), (90, 135), (140, 70), (148, 105), (150, 135),
        (108, 130), (106, 175), (105, 215), (132, 130), (134, 175), (135, 215),
        (115, 35), (125, 35), (108, 38), (132, 38),
    ], np.float32,
)  # fmt: skip


@pytest.fixture(scope="module")
def lifter():
    return load_lifter(bundled("lifter", "open"))


def test_the_guess_is_a_body_of_reference_size_that_stands(lifter) -> None:
    joints, weight = lifted(lifter, STANDING[None], np.full((1, 18), SEEN))
    assert joints.shape == (1, 21, 3) and weight.shape == (1, 21)
    assert chain_m(joints[0]) == pytest.approx(REFERENCE_CHAIN_M, rel=0.1)
    up = [joints[0, J3D[n], 1] for n in ("head_top", "neck", "pelvis", "left_knee", "left_ankle")]
    assert np.all(np.diff(up) > 0.1)  # y points down
    assert 0 < weight.min() <= weight.max() <= GUESS_WEIGHT


def test_mirrored_labels_get_the_mirrored_guess(lifter) -> None:
    rng = np.random.default_rng(0)
    joints = STANDING + rng.normal(0, 8, STANDING.shape)
    mirrored = (joints * (-1, 1))[list(FLIP2D)]
    state = np.full((1, 18), SEEN)
    one, weight = lifted(lifter, joints[None], state)
    other, turned = lifted(lifter, mirrored[None], state)
    np.testing.assert_allclose(other[0], (one[0] * (-1, 1, 1))[list(FLIP3D)], atol=1e-4)
    np.testing.assert_allclose(turned[0], weight[0, list(FLIP3D)], atol=1e-4)


def test_who_shows_too_little_gets_none_and_labels_stay(lifter, tmp_path) -> None:
    joints = np.stack([STANDING] * 3)
    state = np.full((3, 18), SEEN, np.int8)
    state[1, 6:] = ABSENT
    labels, weights = np.zeros((3, 21, 3), np.float32), np.zeros((3, 21), np.float32)
    labels[2], weights[2] = 1.5, 1.0  # somebody whose pose is known
    np.save(tmp_path / "some.npy", np.zeros((3, 240, 240, 3), np.uint8))
    np.savez(
        tmp_path / "some.npz", joints_px=joints, state=state, joints3d_m=labels,
        joints3d_weight=weights,
    )  # fmt: skip
    assert add_guesses(tmp_path / "some", lifter) == 1
    crops = read_person_crops(tmp_path / "some")
    assert crops.joints3d_weight[0].all() and not crops.joints3d_weight[1].any()
    np.testing.assert_array_equal(crops.joints3d_m[2], labels[2])
    np.testing.assert_array_equal(crops.state, state)
    assert add_guesses(tmp_path / "some", lifter) == 0  # nothing is guessed twice


def test_no_cut_outs_is_one_sentence(lifter, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"no .*none.npy"):
        add_guesses(tmp_path / "none", lifter)


def test_a_lifter_of_the_research_lane_is_refused(tmp_path, capsys) -> None:
    lifter = bundled("lifter_refined", "research")
    assert main([str(tmp_path / "some"), "--lifter", str(lifter)]) == 2
    assert "research" in capsys.readouterr().err
