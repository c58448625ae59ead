"""The measured detector is the simulated one: what was put in comes out."""

import json

import numpy as np
import pytest

from xnect.errors import BadInput
from xnect.skeleton import BODY, FLIP2D, J2D, SEEN_AS
from xnect.synth.evidence import JOINT_NOISE, EvidenceOptions
from xnect.train.detector_noise import Measured, main, matched, measure, px_per_m, read_evidence
from xnect.train.samples import SEEN, UNKNOWN, Sample
from xnect.types import PartialPose

SCALE = 200.0
LIMBS = range(2, 14)


def labels():
    place = np.zeros((21, 3))
    for j in BODY.order:
        if BODY.parents[j] >= 0:
            place[j] = place[BODY.parents[j]] + BODY.offsets_m[j]
    joints = np.zeros((18, 2))
    for k, j in enumerate(SEEN_AS):
        if j >= 0:
            joints[j] = SCALE * place[k, :2] * (-1, -1) + 300  # seen from before
    state = np.array([SEEN if j in LIMBS else UNKNOWN for j in range(18)], np.int8)
    return joints, state


def sample(joints, state):
    return Sample(
        np.zeros((600, 600, 3), np.uint8), joints[None], state[None], np.zeros((1, 4)),
        np.zeros((1, 21, 3)), np.zeros((1, 21)), np.zeros(1), np.zeros((0, 4)), 1.0,
    )  # fmt: skip


def partial(joints, score):
    return PartialPose(joints, score, np.zeros((18, 63)), 1.0)


def run(change, people=1200):
    """Measured values when `change(rng, joints, score)` is what the detector does to the truth."""
    rng = np.random.default_rng(0)
    joints, state = labels()

    def find(image):
        return [partial(*change(rng, joints.copy(), np.ones(18)))]

    return measure([sample(joints, state)] * people, find)


def test_a_metre_is_measured_by_the_segment_that_is_foreshortened_least():
    joints, state = labels()
    assert px_per_m(joints, state == SEEN) == pytest.approx(SCALE, rel=0.12)
    knee, ankle = J2D["left_knee"], J2D["left_ankle"]
    bent = joints.copy()
    bent[ankle] = bent[knee]
    assert px_per_m(bent, state == SEEN) == pytest.approx(px_per_m(joints, state == SEEN))
    assert px_per_m(joints, np.zeros(18, bool)) == 0


def test_noise_comes_out_as_it_was_put_in():
    sigma = 0.03 * SCALE * np.array(JOINT_NOISE)[:, None]
    found = run(lambda rng, j, s: (j + sigma * rng.normal(size=j.shape), s), 300)
    assert found.noise_m == pytest.approx(0.03, rel=0.12)
    assert found.outlier == found.drop == found.drop_limb == found.swap == found.missed == 0


def test_shares_come_out_as_they_were_put_in():
    hard = EvidenceOptions().hard

    def outliers(rng, joints, score):
        wild = rng.random(18) < 0.05
        return joints + np.where(wild[:, None], 0.25 * SCALE, 0) * rng.normal(size=(18, 2)), score

    assert run(outliers).outlier == pytest.approx(0.05, rel=0.25)

    def dropped(rng, joints, score):
        return joints, score * ~(
            (rng.random(18) < 0.1 * rng.choice([0.3, 1, 2])) & (rng.random() < hard)
        )

    assert run(dropped).drop == pytest.approx(0.1, rel=0.25)

    def limbs(rng, joints, score):
        for start in (2, 5, 8, 11):
            if rng.random() < 0.12 * hard:
                score[start + rng.integers(3) : start + 3] = 0
        return joints, score

    found = run(limbs)
    assert found.drop_limb == pytest.approx(0.12, rel=0.25)

    def swapped(rng, joints, score):
        for part in ([*range(2, 8)], [*range(8, 14)]):
            if rng.random() < 0.1:
                joints[part] = joints[np.array(FLIP2D)[part]]
        return joints, score

    found = run(swapped)
    assert found.swap == pytest.approx(0.1 / (4 / 3), rel=0.25)
    assert found.outlier == 0


def test_the_labelled_person_is_looked_for_among_all():
    joints, state = labels()
    other = partial(joints + 200, np.ones(18))
    mirrored = partial(joints[list(FLIP2D)], np.ones(18))
    assert matched(joints, state == SEEN, SCALE, [other]) is None
    assert matched(joints, state == SEEN, SCALE, [other, mirrored]) is mirrored
    with pytest.raises(BadInput, match="nobody who is labelled"):
        measure([sample(joints, state)], lambda image: [other])
    half = iter([[other], [partial(joints, np.ones(18))]])
    assert measure([sample(joints, state)] * 2, lambda image: next(half)).missed == 0.5


def test_the_file_is_read_back_and_checked(tmp_path):
    path = tmp_path / "e.json"
    values = dict.fromkeys(Measured.__dataclass_fields__, 0.25)
    path.write_text(json.dumps(values))
    options = read_evidence(path)
    assert options.noise_m == options.swap == 0.25
    assert options.truncate == EvidenceOptions().truncate
    path.write_text(json.dumps({**values, "drop": -1}))
    with pytest.raises(BadInput, match="drop must be a number from 0 to 1, got -1"):
        read_evidence(path)
    del values["swap"]
    path.write_text(json.dumps(values))
    with pytest.raises(BadInput, match="has no swap"):
        read_evidence(path)


@pytest.mark.parametrize("pictures", ["0", "-1"])
def test_nothing_is_measured_without_pictures(pictures, tmp_path, capsys):
    assert main(["-o", str(tmp_path / "e.json"), "--pictures", pictures]) == 2
    assert f"pictures must be 1 or more, got {pictures}" in capsys.readouterr().err
