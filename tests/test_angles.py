"""Joint angles give back what a pose was built from; their signs are those of the body."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.takes import forward_kinematics, person
from xnect.angles import ANGLES, euler_deg, included_angle_deg, joint_angles_deg
from xnect.skeleton import BODY, FLIP3D, J3D

NAMES = list(ANGLES)
HANG = {"left_shoulder": ("z", -90), "right_shoulder": ("z", 90)}


def pose(**turned):
    """(21, 4): the rest pose but for {joint: Rotation, or (axes, degrees)}."""
    quats = np.zeros((21, 4))
    quats[:, 0] = 1
    for name, turn in turned.items():
        is_rotation = isinstance(turn, Rotation)
        rotation = turn if is_rotation else Rotation.from_euler(*turn, degrees=True)
        quats[J3D[name]] = rotation.as_quat()[[3, 0, 1, 2]]
    return quats


def angles(quats):
    return dict(zip(NAMES, joint_angles_deg(quats), strict=True))


def points(quats):
    return forward_kinematics(quats, np.zeros(3), BODY.lengths_m)


def test_standing_with_hanging_arms_is_zero():
    np.testing.assert_allclose(joint_angles_deg(pose(**HANG)), 0, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
@given(st.tuples(st.floats(-170, 170), st.floats(-85, 85), st.floats(-170, 170)))
def test_the_hip_gives_back_what_it_was_built_from(side, wanted):
    flexion, adduction, rotation = wanted
    sign = 1 if side == "left" else -1
    turn = Rotation.from_euler("XZY", (-flexion, -sign * adduction, -sign * rotation), degrees=True)
    found = angles(pose(**{f"{side}_hip": turn}))
    got = [found[f"{side}_hip_{n}"] for n in ("flexion", "adduction", "rotation")]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
@given(st.tuples(st.floats(-170, 170), st.floats(0.1, 179), st.floats(-170, 170)))
def test_the_shoulder_gives_back_isb_y_x_y(side, wanted):
    plane, elevation, rotation = wanted
    sign = 1 if side == "left" else -1
    built = Rotation.from_euler(
        "YZY", (-sign * plane, sign * elevation, -sign * rotation), degrees=True
    )
    to_rest = Rotation.from_euler("z", -sign * 90, degrees=True)
    found = angles(pose(**{f"{side}_shoulder": built * to_rest}))
    names = ("plane_of_elevation", "elevation", "rotation")
    np.testing.assert_allclose([found[f"{side}_shoulder_{n}"] for n in names], wanted, atol=1e-5)


def test_signs_are_those_of_the_body():
    """Seen by where the points go; the person looks along z, left is +x."""
    rest = points(pose())

    def went(joint, **turned):
        return points(pose(**turned))[J3D[joint]] - rest[J3D[joint]]

    for side, out in (("left", 1), ("right", -1)):
        turn = {f"{side}_hip": ("x", -30)}
        assert went(f"{side}_knee", **turn)[2] > 0.1  # to the front
        assert angles(pose(**turn))[f"{side}_hip_flexion"] == pytest.approx(30)
        turn = {f"{side}_hip": ("z", out * 20)}
        assert went(f"{side}_knee", **turn)[0] * out > 0.1  # away from the other leg
        assert angles(pose(**turn))[f"{side}_hip_adduction"] == pytest.approx(-20)
        turn = {f"{side}_knee": ("x", 50)}
        assert went(f"{side}_ankle", **turn)[2] < -0.2  # to the back
        assert angles(pose(**turn))[f"{side}_knee_flexion"] == pytest.approx(50)
        turn = {f"{side}_ankle": ("x", -15)}
        assert went(f"{side}_foot", **turn)[1] > 0.03  # toes up
        assert angles(pose(**turn))[f"{side}_ankle_dorsiflexion"] == pytest.approx(15)
        turn = {f"{side}_elbow": ("y", -out * 70)}
        assert went(f"{side}_wrist", **turn)[2] > 0.1  # to the front, arm in T-pose
        assert angles(pose(**turn))[f"{side}_elbow_flexion"] == pytest.approx(70)
        hanging = Rotation.from_euler("z", -out * 90, degrees=True)
        turn = {f"{side}_shoulder": Rotation.from_euler("x", -90, degrees=True) * hanging}
        assert points(pose(**turn))[J3D[f"{side}_elbow"], 2] > 0.2  # the arm points to the front
        assert angles(pose(**turn))[f"{side}_shoulder_plane_of_elevation"] == pytest.approx(90)
        assert angles(pose(**turn))[f"{side}_shoulder_elevation"] == pytest.approx(90)
    assert went("head_top", spine=("x", 20))[2] > 0.1
    assert angles(pose(spine=("x", 20)))["spine_flexion"] == pytest.approx(20)
    assert went("head_top", spine=("z", 20))[0] < -0.1  # to the person's right
    assert angles(pose(spine=("z", 20)))["spine_lateral_bending"] == pytest.approx(20)
    assert went("left_shoulder", spine=("y", 20))[2] < -0.02  # the left shoulder goes back
    assert angles(pose(spine=("y", 20)))["spine_rotation"] == pytest.approx(20)


@given(st.integers(1, 50), st.floats(0, 5))
def test_a_mirrored_person_has_mirrored_angles(who, time_s):
    quats = person(time_s, who, dtype=np.float64).rotations_quat_wxyz
    mirrored = quats[list(FLIP3D)] * (1, 1, -1, -1)
    here, there = angles(quats), angles(mirrored)
    for name, value in here.items():
        if name.startswith(("spine", "neck")):
            expected = value if name.endswith("flexion") else -value
        else:
            other = {"left": "right", "right": "left"}[name.split("_")[0]]
            expected = there[f"{other}_{name.partition('_')[2]}"]
            assert abs((value - expected + 180) % 360 - 180) < 1e-5, name
            continue
        assert abs((there[name] - expected + 180) % 360 - 180) < 1e-5, name


@given(st.floats(0, 150), st.floats(0, 150))
def test_hinges_are_the_angle_between_the_bones(knee, elbow):
    """What three points show, and what the rotation says, is the same."""
    quats = pose(left_knee=("x", knee), right_elbow=("y", elbow))
    joints, found = points(quats), angles(quats)
    bent = included_angle_deg(joints, "left_hip", "left_knee", "left_ankle")
    assert bent == pytest.approx(found["left_knee_flexion"], abs=1e-5)
    bent = included_angle_deg(joints, "right_shoulder", "right_elbow", "right_wrist")
    assert bent == pytest.approx(found["right_elbow_flexion"], abs=1e-5)


@given(st.integers(1, 50), st.floats(0, 5))
def test_euler_angles_build_the_rotation_again(who, time_s):
    quats = person(time_s, who, dtype=np.float64).rotations_quat_wxyz
    again = Rotation.from_euler("XZY", euler_deg(quats), degrees=True).as_matrix()
    wanted = Rotation.from_quat(quats[:, [1, 2, 3, 0]]).as_matrix()
    np.testing.assert_allclose(again, wanted, atol=1e-7)


def test_the_locked_euler_angle_builds_the_rotation_too():
    turn = Rotation.from_euler("XZY", (20, 90, 35), degrees=True)
    found = euler_deg(pose(spine=turn))[J3D["spine"]]
    assert found[2] == 0
    again = Rotation.from_euler("XZY", found, degrees=True)
    assert (again.inv() * turn).magnitude() < 1e-6


def test_any_leading_axes_and_points_that_coincide():
    quats = np.stack([person(t, 3).rotations_quat_wxyz for t in (0, 1, 2)])
    assert joint_angles_deg(quats[:, None]).shape == (3, 1, len(ANGLES))
    assert euler_deg(quats).shape == (3, 21, 3)
    nothing = included_angle_deg(np.zeros((2, 21, 3)), "left_hip", "left_knee", "left_ankle")
    assert np.isnan(nothing).all()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("rotation", [30.0, -50.0])
def test_an_arm_straight_up_turns_as_one_that_is_nearly_so(side, rotation):
    """The plane of elevation is free there, and taken to be 0."""
    sign = 1 if side == "left" else -1
    to_rest = Rotation.from_euler("z", -sign * 90, degrees=True)
    for elevation in (179.9, 180.0):
        built = Rotation.from_euler("YZY", (0, sign * elevation, -sign * rotation), degrees=True)
        found = angles(pose(**{f"{side}_shoulder": built * to_rest}))
        assert found[f"{side}_shoulder_rotation"] == pytest.approx(rotation, abs=1e-4)
