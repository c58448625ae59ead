from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mocap import SHARED

from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.residuals import FEET
from xnect.rig import SOLES_M
from xnect.skeleton import SEEN_AS
from xnect.synth.skeletons import load_bodies
from xnect.synth.takes import DetectorOptions, Take, bursts, detect, drifting, make_take

PACK = SHARED / "data" / "synth"
EXACT = DetectorOptions(
    offset_m=0, drift_m=0, tremble_m=0, missing=0, wild=0, swapped=0, code_sigma=0, flipped=0
)


@pytest.fixture(scope="module")
def take() -> Take:
    if not (PACK / "motion.npz").is_file():
        pytest.skip(f"no motion capture at {PACK}")
    rng = np.random.default_rng(3)
    return make_take(rng, PACK, load_bodies(PACK), people=3, frames=30, detector=EXACT)


def test_an_exact_detector_sees_the_joints_where_they_project(take: Take) -> None:
    at = take.camera.project(take.joints_m)
    for f, people in enumerate(take.partials):
        for p, partial in enumerate(people):
            for joint, shown in enumerate(SEEN_AS):
                if shown > 1 and partial.score[shown] > 0:  # the neck is another point
                    assert np.allclose(partial.joints_px[shown], at[f, p, joint], atol=1e-3)


def test_feet_in_contact_are_on_the_floor_and_still(take: Take) -> None:
    feet = take.joints_m[:, :, FEET]
    height = take.floor.heights_m(feet) - np.tile(list(SOLES_M.values()), 2)
    assert height.min() > -0.04
    stands = np.repeat(take.contact, 2, axis=-1)
    assert stands.mean() > 0.1
    assert np.abs(height[stands]).mean() < 0.05
    both = stands[1:] & stands[:-1]
    assert np.linalg.norm(np.diff(feet, axis=0), axis=-1)[both].mean() < 0.012


def test_bones_do_not_change_their_lengths(take: Take) -> None:
    for parent, joint in ((11, 12), (8, 9), (12, 13), (2, 3), (3, 4), (14, 15)):
        bone = np.linalg.norm(take.joints_m[:, :, joint] - take.joints_m[:, :, parent], axis=-1)
        assert np.ptp(bone, axis=0).max() < (0.03 if joint == 15 else 0.003)


def test_bursts_last_and_have_their_share() -> None:
    on = bursts(np.random.default_rng(0), (400, 500), 0.1, 0.3)
    assert on.mean() == pytest.approx(0.1, rel=0.1)
    starts = (on[1:] & ~on[:-1]).sum()
    assert on.sum() / starts == pytest.approx(9, rel=0.15)  # frames of 0.3 s


def test_drift_has_unit_variance_and_forgets_itself() -> None:
    noise = drifting(np.random.default_rng(0), (400, 500), 0.3)
    assert noise.std() == pytest.approx(1, rel=0.05)
    assert (noise[9:] * noise[:-9]).mean() == pytest.approx(np.exp(-1), rel=0.1)


def test_a_pack_that_is_not_there_or_too_short_clips_are_one_sentence(take: Take) -> None:
    bodies = load_bodies(PACK)
    with pytest.raises(BadInput, match=r"motion\.npz does not exist"):
        make_take(np.random.default_rng(0), "nowhere", bodies, people=1, frames=5)
    with pytest.raises(BadInput, match="ask for fewer"):
        make_take(np.random.default_rng(0), PACK, bodies, people=1, frames=10**6)
    assert take.time_s[1] == pytest.approx(1 / 30)


def test_errors_of_the_detector_are_lengths_at_the_person_whatever_the_camera() -> None:
    """In metres, a long lens makes no better detector."""
    if not (PACK / "motion.npz").is_file():
        pytest.skip(f"no motion capture at {PACK}")
    rng = np.random.default_rng(0)
    detector = replace(EXACT, tremble_m=0.01)
    joints = np.tile((0, 0, 4.0), (400, 1, 21, 1))
    shown = np.tile((0, 0, 4.0), (400, 1, 18, 1))
    for focal_px in (600.0, 1400.0):
        camera = replace(Camera.guess(720, 1280), fx_px=focal_px, fy_px=focal_px)
        found = detect(rng, camera, joints, shown, detector)
        px = np.array([people[0].joints_px for people in found])
        off_m = (px - camera.project(shown)[:, 0]) * 4.0 / focal_px
        assert off_m.std() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("data", [b"", b"PK"])
def test_a_damaged_pack_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    for name in ("motion.npz", "body.npz"):
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=r"body\.npz is damaged"):
        load_bodies(tmp_path)
