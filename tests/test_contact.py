"""Laws of standing feet: locked ones stay, bones and limits hold, nothing is below the floor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rig_takes import CAMERA, UPRIGHT, bones_m, changed, recording, table

from xnect.calib.floor import Floor
from xnect.contact import POINTS, ContactOptions, foot_skate_mm, lock_feet, standing
from xnect.errors import BadInput
from xnect.kinematics import Pose, forward, hinge_angles, offsets_m, with_hinges
from xnect.recording import PERSON_ROW
from xnect.rig import JOINTS, RIG, SOLES_M
from xnect.rotations import matrix_from_quat, matrix_from_rotvec
from xnect.skeleton import BODY, J3D, ROOT

FEET = [J3D[name] for name in POINTS]
SOLES = np.tile(list(SOLES_M.values()), 2)
TIMES_S = np.arange(60) / 30
REST = offsets_m(BODY.lengths_m[None])


def crouching(time_s, *, sway_m=0.02, knee=0.5, sway_rad=0.05):
    """(F,) s -> Pose of somebody who stands with bent knees and sways, so that the feet slide."""
    count = len(time_s)
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    waves = np.stack([np.sin(2 * np.pi * (0.5 * time_s + p)) for p in (0, 0.3, 0.6)], 1)
    local[:, ROOT] = UPRIGHT @ matrix_from_rotvec(np.array([0, 0.4, 0]) + sway_rad * waves)
    bend = np.full(count, knee)
    for side in ("left", "right"):
        hip = np.stack([-bend / 2, 0 * bend, 0 * bend], 1)
        local[:, J3D[f"{side}_hip"]] = matrix_from_rotvec(hip)
    root = np.array([0.2, 0.3, 4.0]) + sway_m * waves
    angles = np.zeros((count, 6))
    for i, joint in enumerate(RIG.hinges):
        if joint in (J3D["left_knee"], J3D["right_knee"]):
            angles[:, i] = bend
        if joint in (J3D["left_ankle"], J3D["right_ankle"]):
            angles[:, i] = -bend / 2
    return with_hinges(Pose(root, local), angles)


def take_of(pose, time_s=TIMES_S, camera=CAMERA, **kind):
    return recording(time_s, [(np.arange(len(time_s)), table(pose, camera=camera, **kind))],
                     camera=camera)  # fmt: skip


def kicking(time_s=TIMES_S):
    """Stands, swings the left leg from 0.7 s to 1.3 s, stands."""
    pose = crouching(time_s, sway_m=0.005, sway_rad=0.01)
    swing = np.where((time_s > 0.7) & (time_s < 1.3), np.sin((time_s - 0.7) / 0.6 * np.pi), 0)
    hip = np.stack([-0.25 - 1.2 * swing**2, 0 * swing, 0 * swing], 1)
    local = pose.local.copy()
    local[:, J3D["left_hip"]] = matrix_from_rotvec(hip)
    return Pose(pose.root_m, local)


def assert_body_holds(got, was):
    np.testing.assert_allclose(bones_m(got.joints3d_m), bones_m(was.joints3d_m), atol=2e-6)
    pose = Pose(got.root_m, matrix_from_quat(got.rotations_quat_wxyz))
    angle = hinge_angles(pose)
    assert (angle >= RIG.lower_rad[-6:] - 1e-5).all()
    assert (angle <= RIG.upper_rad[-6:] + 1e-5).all()
    np.testing.assert_allclose(pose.local, with_hinges(pose, angle).local, atol=1e-5)
    joints = forward(pose, np.repeat(REST, len(angle), 0)).points_m[:, :JOINTS]
    np.testing.assert_allclose(joints, got.joints3d_m, atol=1e-5)


def test_standing_feet_are_locked_to_less_than_a_millimetre_and_the_body_holds():
    take = take_of(crouching(TIMES_S))
    done = lock_feet(take)
    assert done.contact.all()
    feet = done.recording.joints3d_m[:, FEET]
    assert np.ptp(take.joints3d_m[:, FEET], axis=0).max() > 0.03
    assert np.ptp(feet, axis=0).max() < 1e-3
    np.testing.assert_allclose(feet.mean(0), take.joints3d_m[:, FEET].mean(0), atol=5e-3)
    assert_body_holds(done.recording, take)
    assert done.skate_before_mm > 1
    assert done.skate_mm < 0.05
    still = [j for j in range(21) if j not in
             (*FEET, J3D["left_knee"], J3D["right_knee"])]  # fmt: skip
    np.testing.assert_allclose(  # only the legs moved
        done.recording.joints3d_m[:, still], take.joints3d_m[:, still], atol=1e-6
    )


def test_the_knee_stays_near_its_bending_plane():
    take = take_of(crouching(TIMES_S, sway_rad=0.0))
    got = lock_feet(take).recording

    def normal(r):
        hip, knee, ankle = (r.joints3d_m[:, J3D[f"left_{p}"]] for p in ("hip", "knee", "ankle"))
        across = np.cross(knee - hip, ankle - knee)
        return across / np.linalg.norm(across, axis=-1, keepdims=True)

    assert np.degrees(np.arccos((normal(got) * normal(take)).sum(-1).min())) < 8


def test_straight_legs_that_are_too_short_take_the_pelvis_along():
    take = take_of(crouching(TIMES_S, knee=0.0, sway_m=0.01, sway_rad=0.02))
    done = lock_feet(take)
    assert done.contact.all()
    assert np.ptp(done.recording.joints3d_m[:, FEET], axis=0).max() < 1e-3
    assert np.abs(done.recording.root_m - take.root_m).max() < 0.03
    assert_body_holds(done.recording, take)


def test_a_swinging_foot_is_free_and_blended_in_and_out():
    take = take_of(kicking())
    done = lock_feet(take)
    left = [POINTS.index("left_ankle"), POINTS.index("left_foot")]
    swings = (TIMES_S > 0.8) & (TIMES_S < 1.2)
    assert not done.contact[np.ix_(swings, left)].any()
    assert done.contact[TIMES_S < 0.6].all()
    assert done.contact[TIMES_S > 1.4].all()
    assert done.contact[:, [k for k in range(4) if k not in left]].all()
    steps = [np.linalg.norm(np.diff(r.joints3d_m[:, FEET], axis=0), axis=-1)
             for r in (take, done.recording)]  # fmt: skip
    assert steps[1].max() < steps[0].max() + 0.01  # no jump
    for part in (TIMES_S < 0.6, TIMES_S > 1.4):
        assert np.ptp(done.recording.joints3d_m[part][:, FEET], axis=0).max() < 1e-3
    away = np.abs(done.recording.joints3d_m[:, FEET] - take.joints3d_m[:, FEET])
    assert away[(TIMES_S > 0.95) & (TIMES_S < 1.05)][:, :2].max() < 2e-3
    assert_body_holds(done.recording, take)


@pytest.mark.parametrize("depth_m", [0.0, 0.03, 0.08])
def test_feet_are_never_below_a_floor(depth_m):
    take = take_of(kicking())
    lowest = (take.joints3d_m[:, FEET, 1] + SOLES).min()  # y is down
    camera = replace(CAMERA, floor=Floor((0.0, -1.0, 0.0), float(lowest + 0.02 - depth_m)))
    take = replace(take, cameras=(camera,))
    done = lock_feet(take)
    height = camera.floor.heights_m(done.recording.joints3d_m[:, FEET]) - SOLES
    assert height.min() > -1e-4
    if depth_m:
        before = camera.floor.heights_m(take.joints3d_m[:, FEET]) - SOLES
        assert before.min() < -0.5 * depth_m
    assert_body_holds(done.recording, take)


def test_a_slow_foot_high_above_the_floor_does_not_stand():
    pose = crouching(TIMES_S)
    points = forward(pose, np.repeat(REST, 60, 0)).points_m[:, FEET]
    near = Floor((0.0, -1.0, 0.0), float((points[..., 1] + SOLES).mean()))
    far = Floor((0.0, -1.0, 0.0), near.distance_m + 0.3)
    assert standing(TIMES_S, points).all()
    assert standing(TIMES_S, points, floor=near).mean() > 0.9
    assert not standing(TIMES_S, points, floor=far).any()


def test_contact_has_hysteresis_and_a_least_time():
    options = ContactOptions(depth_trust=1.0)
    speed = np.full(60, 1.0)
    speed[5:7] = 0.1  # too short
    speed[20:40] = 0.1
    speed[28:31] = 0.4  # between the thresholds
    place = np.cumsum(speed / 30)
    points = np.zeros((60, 4, 3))
    points[..., 0], points[..., 2] = place[:, None], 5.0
    stands = standing(TIMES_S, points, options)
    assert not stands[:18].any()
    assert stands[21:39].all()
    assert not stands[42:].any()


def test_locking_backwards_is_the_locked_take_backwards():
    take = take_of(kicking())
    names = ("person_frame", *PERSON_ROW.names)

    def backwards(r):
        rows = {name: getattr(r, name)[::-1] for name in names}
        rows["person_frame"] = len(r.time_s) - 1 - rows["person_frame"]
        return replace(r, time_s=(r.time_s[-1] - r.time_s)[::-1], **rows)

    one, other = lock_feet(backwards(take)), lock_feet(take)
    np.testing.assert_array_equal(one.contact, other.contact[::-1])
    np.testing.assert_allclose(
        one.recording.joints3d_m, backwards(other.recording).joints3d_m, atol=1e-5
    )


def test_a_foot_that_strays_is_put_anew_without_a_jump():
    pose = crouching(TIMES_S, sway_m=0.0, sway_rad=0.0)
    root = pose.root_m + TIMES_S[:, None] * (0.15, 0, 0)  # 0.3 m in 2 s, slower than `still_m_s`
    take = take_of(Pose(root, pose.local))
    done = lock_feet(take)
    away = np.linalg.norm(done.recording.joints3d_m[:, FEET] - take.joints3d_m[:, FEET], axis=-1)
    assert away.max() < 0.11
    assert done.skate_mm < 0.3 * done.skate_before_mm
    assert np.linalg.norm(np.diff(done.recording.joints3d_m[:, FEET], axis=0), axis=-1).max() < 0.1


def test_skate_is_the_mean_step_of_what_stands():
    take = take_of(crouching(TIMES_S[:4]), TIMES_S[:4])
    joints = take.joints3d_m.copy()
    joints[:, FEET] = 0
    joints[:, FEET[0], 0] = (0, 0.001, 0.003, 0.1)
    contact = np.zeros((4, 4), bool)
    contact[:3, 0] = True
    assert foot_skate_mm(changed(take, joints3d_m=joints), contact) == pytest.approx(1.5)
    assert np.isnan(foot_skate_mm(take, np.zeros((4, 4), bool)))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_short_takes_and_single_pictures_are_left_alone(count):
    take = take_of(crouching(TIMES_S[:count]), TIMES_S[:count])
    np.testing.assert_allclose(lock_feet(take).recording.joints3d_m, take.joints3d_m, atol=1e-3)
    pictures = take_of(crouching(TIMES_S), track_id=0)
    done = lock_feet(pictures)
    np.testing.assert_array_equal(done.recording.joints3d_m, pictures.joints3d_m)
    assert not done.contact.any()


def test_thresholds_in_the_wrong_order_are_one_sentence():
    with pytest.raises(BadInput, match="end later than it begins"):
        ContactOptions(still_m_s=0.6)


@pytest.mark.parametrize("speed_m_s", [0.4, 0.6])
def test_feet_that_glide_along_the_view_are_not_put_down_again_and_again(speed_m_s) -> None:
    pose = crouching(TIMES_S, sway_m=0.0, sway_rad=0.0)
    away = np.array([0, 0, -speed_m_s]) * TIMES_S[:, None]
    take = take_of(Pose(pose.root_m + away, pose.local))
    locked = lock_feet(take)
    step = {
        name: np.linalg.norm(np.diff(one.joints3d_m[:, FEET].astype(float), axis=0), axis=-1)
        for name, one in (("given", take), ("locked", locked.recording))
    }
    assert step["locked"].max() <= 1.2 * step["given"].max()
    assert not locked.contact.any()


def test_a_foot_that_stands_before_it_glides_stands_until_then() -> None:
    pose = crouching(TIMES_S, sway_m=0.002, sway_rad=0.0)
    away = np.array([0, 0, -0.5]) * np.maximum(TIMES_S - 1, 0)[:, None]
    contact = lock_feet(take_of(Pose(pose.root_m + away, pose.local))).contact
    assert contact[5:20].all()
    assert not contact[45:].any()
