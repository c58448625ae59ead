import numpy as np
import pytest

from xnect.kinematics import (
    JOINTS,
    RIG,
    Pose,
    anatomical,
    forward,
    hinge_angles,
    jacobian,
    moved,
    offsets_m,
    with_hinges,
)
from xnect.rotations import matrix_from_quat, matrix_from_rotvec, quat_from_matrix
from xnect.skeleton import BODY, J3D, JOINTS2D, JOINTS3D, SEEN_AS

FACING = np.diag((1.0, -1.0, -1.0))


def some_poses(count: int, seed: int = 0, spread: float = 0.6) -> Pose:
    """Poses within the limits of the hinges, roots anywhere."""
    rng = np.random.default_rng(seed)
    step = rng.normal(0, spread, (count, RIG.freedom))
    step[:, 3:6] *= 3
    step[:, 2] += 4
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    local[:, BODY.root] = FACING
    start = with_hinges(Pose(np.zeros((count, 3)), local), np.full((count, 6), 0.4))
    return moved(start, step)


def rest_offsets(count: int) -> np.ndarray:
    return offsets_m(np.tile(BODY.lengths_m, (count, 1)))


def test_there_are_thirty_six_degrees_of_freedom() -> None:
    assert RIG.freedom == 36
    assert len(RIG.lower_rad) == len(RIG.upper_rad) == 30
    assert (RIG.lower_rad < RIG.upper_rad).all()


def test_the_t_pose_facing_the_camera_has_the_head_up_and_the_left_hand_on_the_right() -> None:
    local = np.tile(np.eye(3), (1, JOINTS, 1, 1))
    local[:, BODY.root] = FACING
    points = forward(Pose(np.array([[0.0, 0, 4]]), local), rest_offsets(1)).points_m[0]
    assert points[J3D["head_top"], 1] < -0.7  # y is down
    assert points[J3D["left_hand"], 0] > 0.6
    assert points[J3D["left_foot"], 2] < 4  # towards the camera
    assert points[RIG.seen[JOINTS2D.index("nose")], 2] < points[J3D["head"], 2]


def test_what_2d_joints_show() -> None:
    for i, name in enumerate(JOINTS2D):
        if i in SEEN_AS and name != "neck":
            assert RIG.seen[i] == SEEN_AS.index(i)
    points = forward(some_poses(4), rest_offsets(4)).points_m
    shoulders = points[:, [J3D["left_shoulder"], J3D["right_shoulder"]]].mean(1)
    assert np.allclose(points[:, RIG.seen[JOINTS2D.index("neck")]], shoulders)


def test_forward_kinematics_is_the_loop_over_parents() -> None:
    pose, offsets = some_poses(6), rest_offsets(6)
    posed = forward(pose, offsets)
    for p in range(6):
        turned, place = {}, {}
        for j in BODY.order:
            up = BODY.parents[j]
            if up < 0:
                turned[j], place[j] = pose.local[p, j], pose.root_m[p]
            else:
                turned[j] = turned[up] @ pose.local[p, j]
                place[j] = place[up] + turned[up] @ BODY.offsets_m[j]
            assert np.allclose(posed.points_m[p, j], place[j])
            assert np.allclose(posed.turned[p, j], turned[j])


def test_bones_keep_their_lengths_in_every_pose() -> None:
    rng = np.random.default_rng(5)
    lengths = BODY.lengths_m * rng.uniform(0.7, 1.4, (30, JOINTS))
    points = forward(some_poses(30, spread=2), offsets_m(lengths)).points_m[:, :JOINTS]
    parents = np.array(BODY.parents)
    parents[BODY.root] = BODY.root
    assert np.allclose(np.linalg.norm(points - points[:, parents], axis=-1), lengths)


def test_the_jacobian_is_the_finite_difference() -> None:
    pose, offsets = some_poses(5), rest_offsets(5)
    pose = with_hinges(pose, np.full((5, 6), 0.5))  # away from the limits, where steps are cut
    slope = jacobian(forward(pose, offsets))
    small = 1e-6
    for d in range(RIG.freedom):
        step = np.zeros((5, RIG.freedom))
        step[:, d] = small
        ahead = forward(moved(pose, step), offsets).points_m
        behind = forward(moved(pose, -step), offsets).points_m
        assert np.allclose((ahead - behind) / (2 * small), slope[..., d], atol=1e-8)


def test_the_derivative_of_anatomical_angles_is_the_finite_difference() -> None:
    pose = with_hinges(some_poses(40, spread=0.8), np.full((40, 6), 0.5))
    local = pose.local.copy()
    local[0, RIG.balls] = np.eye(3)  # the singular place of a swing
    pose = Pose(pose.root_m, local)
    _, slope = anatomical(pose)
    small = 1e-6
    for ball in range(6):
        for i in range(3):
            step = np.zeros((40, RIG.freedom))
            step[:, 6 + 3 * ball + i] = small
            ahead, behind = anatomical(moved(pose, step))[0], anatomical(moved(pose, -step))[0]
            row = slice(3 * ball, 3 * ball + 3)
            difference = (ahead - behind)[:, row] / (2 * small)
            assert np.allclose(difference, slope[:, row, i], atol=1e-5)


@pytest.mark.parametrize(
    ("joint", "rotvec_deg", "expected"),
    [
        ("left_hip", (-90, 0, 0), (-90, 0, 0)),
        ("left_hip", (0, 30, 0), (0, 30, 0)),
        ("right_shoulder", (0, 0, 80), (0, 0, 80)),
        ("left_shoulder", (-40, 0, 0), (-40, 0, 0)),
        ("neck", (0, 70, 0), (0, 70, 0)),
    ],
)
def test_pure_swings_and_twists_are_their_own_angles(
    joint: str, rotvec_deg: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    local = np.tile(np.eye(3), (1, JOINTS, 1, 1))
    local[0, J3D[joint]] = matrix_from_rotvec(np.radians(rotvec_deg))
    angles, _ = anatomical(Pose(np.zeros((1, 3)), local))
    first = 3 * int(np.flatnonzero(RIG.balls == J3D[joint])[0])
    assert np.allclose(np.degrees(angles[0, first : first + 3]), expected, atol=1e-6)


def test_knees_bend_the_shin_back_and_elbows_bend_the_hand_forward() -> None:
    local = np.tile(np.eye(3), (1, JOINTS, 1, 1))
    pose = with_hinges(Pose(np.zeros((1, 3)), local), np.full((1, 6), np.radians(80)))
    points = forward(pose, rest_offsets(1)).points_m[0]
    for side in ("left", "right"):
        assert points[J3D[f"{side}_ankle"], 2] < points[J3D[f"{side}_knee"], 2] - 0.3
        assert points[J3D[f"{side}_wrist"], 2] > points[J3D[f"{side}_elbow"], 2] + 0.2


def test_hinges_never_leave_their_limits() -> None:
    pose = moved(some_poses(50), np.random.default_rng(6).normal(0, 3, (50, RIG.freedom)))
    angle = hinge_angles(pose)
    assert (angle >= RIG.lower_rad[-6:] - 1e-9).all()
    assert (angle <= RIG.upper_rad[-6:] + 1e-9).all()
    bending = ["elbow" in JOINTS3D[j] or "knee" in JOINTS3D[j] for j in RIG.hinges]
    assert sum(bending) == 4
    assert (angle[:, bending] >= -1e-9).all()


def test_exported_quaternions_rebuild_the_joints() -> None:
    """What BVH relies on: local rotations and bone lengths are the whole pose."""
    pose, offsets = some_poses(8, seed=9), rest_offsets(8)
    points = forward(pose, offsets).points_m
    again = Pose(pose.root_m, matrix_from_quat(quat_from_matrix(pose.local)))
    assert np.allclose(forward(again, offsets).points_m, points, atol=1e-12)


def test_nobody_is_an_empty_array() -> None:
    none = some_poses(0)
    assert forward(none, rest_offsets(0)).points_m.shape == (0, 27, 3)
    assert jacobian(forward(none, rest_offsets(0))).shape == (0, 27, 3, 36)
    assert anatomical(none)[0].shape == (0, 30)
