from dataclasses import replace

import numpy as np
import pytest
from mocap import SHARED, mocap_joints

from xnect.calib.camera import Camera
from xnect.fit import FitOptions, fit, fit_single, measured_lengths
from xnect.kinematics import (
    JOINTS,
    RIG,
    Pose,
    anatomical,
    forward,
    hinge_angles,
    moved,
    offsets_m,
    with_hinges,
)
from xnect.rotations import matrix_from_quat
from xnect.skeleton import BODY, FROM_COCO17, J2D, J3D, JOINTS2D, ROOT, SEEN_AS
from xnect.track import Track, Tracker
from xnect.types import PartialPose, Person, Pose3D

CAMERA = Camera(1200.0, 1200.0, 639.5, 359.5, 1280, 720)
FLIP = np.diag((1.0, -1.0, -1.0))
PARENTS = np.where(np.array(BODY.parents) < 0, ROOT, BODY.parents)


def bodies(count: int, *, seed: int = 0, spread: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    """Random poses within the limits -> (P, 27, 3) m points and (P, 21, 3, 3) rotations."""
    rng = np.random.default_rng(seed)
    wanted, count = count, 8 * count
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    local[:, ROOT] = FLIP
    step = rng.normal(0, spread, (count, RIG.freedom))
    step[:, :3] = rng.uniform((-1, -0.3, 3), (1, 0.3, 6), (count, 3))
    step[:, 4] *= 4  # facing anywhere
    for side, sign in (("left", 1), ("right", -1)):  # arms down from the T-pose
        ball = int(np.flatnonzero(RIG.balls == J3D[f"{side}_shoulder"])[0])
        step[:, 8 + 3 * ball] -= 0.7 * sign
        wrist = int(np.flatnonzero(RIG.balls == J3D[f"{side}_wrist"])[0])
        step[:, 6 + 3 * wrist] *= 0.05  # they hardly twist
    start = with_hinges(Pose(np.zeros((count, 3)), local), np.full((count, 6), 0.5))
    pose = moved(start, step)
    angle, _ = anatomical(pose)
    allowed = np.flatnonzero(((angle >= RIG.lower_rad) & (angle <= RIG.upper_rad)).all(1))[:wanted]
    assert len(allowed) == wanted
    pose = Pose(pose.root_m[allowed], pose.local[allowed])
    lengths = np.tile(BODY.lengths_m, (wanted, 1))
    return forward(pose, offsets_m(lengths)).points_m, pose.local


def seen(
    points_m: np.ndarray, *, noise_px: float = 0.0, noise_m: float = 0.0, seed: int = 0
) -> list[Pose3D]:
    """What a perfect, or a trembling, stage II would give for (P, 27, 3) m points.

    Scores are those of good detections; of the lifted joints those of errors of some centimetres.
    """
    rng = np.random.default_rng(seed)
    poses = []
    for points in points_m:
        pixels = CAMERA.project(points[RIG.seen]) + rng.normal(0, noise_px, (18, 2))
        joints = points[:JOINTS] - points[ROOT] + rng.normal(0, noise_m, (JOINTS, 3))
        partial = PartialPose(pixels, np.full(18, 0.95), np.zeros((18, 63)), 0.9)
        poses.append(Pose3D(partial, joints - joints[ROOT], np.full(JOINTS, 0.63)))
    return poses


def stream(frames: list[list[Pose3D]]) -> list[tuple[Person, ...]]:
    tracker, out = Tracker(), []
    for i, poses in enumerate(frames):
        people = fit(tracker.match(poses, None, i / 30), CAMERA, i / 30)
        tracker.remember(people)
        out.append(people)
    return out


def hinges_deg(person: Person) -> np.ndarray:
    local = matrix_from_quat(person.rotations_quat_wxyz)[None]
    return np.degrees(hinge_angles(Pose(person.root_m[None], local))[0])


@pytest.fixture(scope="module")
def walk() -> tuple[np.ndarray, list[tuple[Person, ...]]]:
    """Over a second of a noisy person who moves smoothly: the truth and what comes out."""
    rng = np.random.default_rng(1)
    count = 40
    phase = 2 * np.pi * np.arange(count) / 30
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    local[:, ROOT] = FLIP
    step = np.zeros((count, RIG.freedom))
    for name, axis, size in (
        ("left_hip", 0, 0.5), ("right_hip", 0, -0.5), ("left_shoulder", 2, -1.2),
        ("right_shoulder", 2, 1.2), ("left_shoulder", 1, -0.4), ("right_shoulder", 1, -0.4),
    ):  # fmt: skip
        ball = int(np.flatnonzero(RIG.balls == J3D[name])[0])
        swing = size if axis == 2 else size * np.sin(phase)
        step[:, 6 + 3 * ball + axis] = swing
    step[:, :3] = np.stack([-0.5 + 0.5 * phase / 6, 0 * phase, 4 + 0.4 * phase / 6], 1)
    bend = 0.02 + 0.5 * np.maximum(0, np.sin(phase))[:, None] * (RIG.hinge_axes[:, 0] > 0)
    pose = moved(with_hinges(Pose(np.zeros((count, 3)), local), bend), step)
    points = forward(pose, offsets_m(np.tile(BODY.lengths_m, (count, 1)))).points_m
    frames = [
        seen(p[None], noise_px=4, noise_m=0.05, seed=int(rng.integers(1 << 30))) for p in points
    ]
    return points, stream(frames)


def test_a_pose_is_recovered_from_its_own_joints() -> None:
    points, _ = bodies(24)
    people = fit_single(seen(points), CAMERA)
    off = np.linalg.norm(np.stack([p.joints3d_m for p in people]) - points[:, :JOINTS], axis=-1)
    assert np.median(off) < 0.004
    assert off.mean(1).max() < 0.03
    root = np.stack([p.root_m for p in people]) - points[:, ROOT]
    assert np.abs(root).max() < 0.03


def test_joint_positions_follow_from_rotations_lengths_and_root() -> None:
    """What BVH relies on."""
    points, _ = bodies(5, seed=2)
    for person in fit_single(seen(points, noise_px=3, noise_m=0.04), CAMERA):
        local = matrix_from_quat(person.rotations_quat_wxyz)[None]
        rest = offsets_m(person.bone_lengths_m[None])
        again = forward(Pose(person.root_m[None], local), rest).points_m[0, :JOINTS]
        assert np.allclose(again, person.joints3d_m, atol=1e-9)
        assert np.allclose(person.joints3d_m[ROOT], person.root_m)


def test_a_person_facing_the_camera_is_half_a_turn_about_x() -> None:
    points, _ = bodies(1, spread=0)
    person = fit_single(seen(points), CAMERA)[0]
    assert np.allclose(np.abs(person.rotations_quat_wxyz[ROOT]), (0, 1, 0, 0), atol=0.03)


def test_the_order_and_the_number_of_people_do_not_matter() -> None:
    points, _ = bodies(6, seed=3)
    poses = seen(points, noise_px=3, noise_m=0.04)
    together = fit_single(poses, CAMERA)
    backwards = fit_single(poses[::-1], CAMERA)[::-1]
    for a, b, pose in zip(together, backwards, poses, strict=True):
        assert np.allclose(a.joints3d_m, b.joints3d_m, atol=2e-3)
        assert np.allclose(a.joints3d_m, fit_single([pose], CAMERA)[0].joints3d_m, atol=2e-3)


def test_nobody_is_a_normal_result() -> None:
    assert fit([], CAMERA, 0.0) == ()
    assert fit_single([], CAMERA) == ()


def test_bone_lengths_of_an_identity_are_constant(walk: tuple) -> None:
    people = [frame[0] for frame in walk[1]]
    joints = np.stack([p.joints3d_m for p in people])
    lengths = np.linalg.norm(joints - joints[:, PARENTS], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 1e-9
    assert np.allclose(lengths, people[0].bone_lengths_m)


def test_a_noisy_walker_is_followed_better_than_its_noise(walk: tuple) -> None:
    points, out = walk
    joints = np.stack([frame[0].joints3d_m for frame in out])
    off = joints - joints[:, ROOT, None] - points[:, :JOINTS] + points[:, ROOT, None]
    assert np.linalg.norm(off, axis=-1).mean() < 0.06  # the noise is 0.11 m
    root = joints[:, ROOT] - points[:, ROOT]
    assert np.abs(root[:, :2]).mean() < 0.04
    assert np.abs(root[:, 2]).mean() < 0.15


def test_knees_and_elbows_never_bend_the_wrong_way(walk: tuple) -> None:
    for frame in walk[1]:
        angle = hinges_deg(frame[0])
        bending = [not np.isclose(u, np.radians(55)) for u in RIG.upper_rad[-6:]]
        assert (angle[bending] >= -0.01).all()
        assert (angle[bending] <= 150.01).all()


def test_quaternions_do_not_jump_from_one_sign_to_the_other(walk: tuple) -> None:
    quats = np.stack([frame[0].rotations_quat_wxyz for frame in walk[1]])
    assert ((quats[1:] * quats[:-1]).sum(-1) > 0).all()


def test_a_hyperextended_knee_in_the_input_comes_out_straight() -> None:
    points, _ = bodies(1, spread=0)
    poses = seen(points)
    joints = poses[0].joints_m
    for name in ("left_ankle", "left_foot"):
        joints[J3D[name]] += (0, 0, -0.4)  # the shin swings to the front, towards the camera
    person = fit_single([replace(poses[0], joints_m=joints)], CAMERA)[0]
    knee = int(np.flatnonzero(RIG.hinges == J3D["left_knee"])[0])
    assert -0.01 <= hinges_deg(person)[knee] < 10


@pytest.mark.parametrize("hidden", [("left_elbow", "left_wrist"), tuple(JOINTS2D[8:14])])
def test_hidden_limbs_stay_finite_and_near_where_they_were(hidden: tuple[str, ...]) -> None:
    points, _ = bodies(1, seed=4)
    frames = []
    for i in range(20):
        pose = seen(points, noise_px=2, noise_m=0.02, seed=i)[0]
        if i >= 8:
            for name in hidden:
                pose.partial.score[J2D[name]] = pose.score[J3D[name]] = 0
                pose.partial.joints_px[J2D[name]] = np.nan
                pose.joints_m[J3D[name]] = np.nan
        frames.append([pose])
    people = [frame[0] for frame in stream(frames)]
    assert {p.track_id for p in people} == {1}
    assert all(p.score == pytest.approx(0.9) for p in people)  # seen, not only held
    joints = np.stack([p.joints3d_m for p in people])
    assert np.isfinite(joints).all()
    step = np.linalg.norm(np.diff(joints - joints[:, ROOT, None], axis=0), axis=-1)
    assert step[8:].max() < 0.12


def test_a_person_seen_by_nothing_but_two_joints_gives_numbers() -> None:
    points, _ = bodies(1)
    pose = seen(points)[0]
    pose.partial.score[2:] = 0
    pose.score[:] = 0
    person = fit_single([pose], CAMERA)[0]
    assert np.isfinite(person.joints3d_m).all()
    assert person.root_m[2] > 0.3


def test_height_scales_the_body_and_its_distance() -> None:
    points, _ = bodies(3, seed=5)
    poses = seen(points)
    tall = fit_single(poses, CAMERA, FitOptions(height_m=3.40))
    for person, truth in zip(tall, points, strict=True):
        assert np.allclose(person.bone_lengths_m, 2 * BODY.lengths_m)
        assert person.root_m[2] == pytest.approx(2 * truth[ROOT, 2], rel=0.03)


def test_somebody_missed_shortly_keeps_the_last_pose_with_less_score() -> None:
    points, _ = bodies(1, seed=6)
    tracker = Tracker()
    first = fit(tracker.match(seen(points), None, 0.0), CAMERA, 0.0)
    tracker.remember(first)
    held = fit(tracker.match([], None, 0.1), CAMERA, 0.1)
    assert np.array_equal(held[0].joints3d_m, first[0].joints3d_m)
    assert held[0].score < first[0].score
    assert not held[0].joints2d_score.any()


def test_a_pose_turned_round_between_frames_is_not_stuck_in_the_old_one() -> None:
    points, _ = bodies(1, spread=0.1)
    centre = points[:, ROOT, None]
    back = (points - centre) * (-1, 1, -1) + centre  # half a turn about the vertical
    first = fit_single(seen(points), CAMERA)[0]
    track = Track(1, seen(back)[0], previous=first, previous_time_s=0.0)
    person = fit([track], CAMERA, 1 / 30)[0]
    assert np.linalg.norm(person.joints3d_m - back[0, :JOINTS], axis=-1).mean() < 0.1


def test_measured_lengths_are_the_bones_that_were_seen() -> None:
    rng = np.random.default_rng(7)
    points, _ = bodies(30, seed=7)
    poses = seen(1.1 * points, noise_m=0.005, seed=int(rng.integers(1000)))
    lengths = measured_lengths(poses)
    assert np.allclose(lengths, 1.1 * BODY.lengths_m, atol=0.006)
    left, right = J3D["left_knee"], J3D["right_knee"]
    assert lengths[left] == lengths[right]
    assert np.array_equal(measured_lengths([]), BODY.lengths_m)
    unseen = np.where(np.arange(JOINTS) == J3D["right_wrist"], 0.0, 1.0)
    poses = [replace(pose, score=pose.score * unseen) for pose in seen(1.1 * points)]
    lengths = measured_lengths(poses)  # the side that is not seen does not vote
    wrists = [J3D["left_wrist"], J3D["right_wrist"]]
    assert np.allclose(lengths[wrists], 1.1 * BODY.lengths_m[wrists], atol=0.002)


def test_real_motion_is_fitted_without_flips() -> None:
    joints, root = mocap_joints(5000, 40)
    joints, root = joints @ FLIP, (root - root[0]) @ FLIP + (0, 0, 4.5)
    frames = []
    for body, place in zip(joints, root, strict=True):
        shown = np.array(
            [max(i, 0) for i in (SEEN_AS.index(j) if j in SEEN_AS else -1 for j in range(18))]
        )
        points = body[shown]
        points[J2D["neck"]] = body[[J3D["left_shoulder"], J3D["right_shoulder"]]].mean(0)
        score = np.array([0.8 if j in SEEN_AS else 0.0 for j in range(18)])
        partial = PartialPose(CAMERA.project(points + place), score, np.zeros((18, 63)), 0.9)
        frames.append([Pose3D(partial, body, np.full(JOINTS, 0.8))])
    out = np.stack([frame[0].joints3d_m for frame in stream(frames)])
    off = np.linalg.norm(out - out[:, ROOT, None] - joints, axis=-1)
    assert off.mean() < 0.025
    assert off.mean(1).max() < 0.05
    assert np.abs(out[:, ROOT] - root).mean() < 0.06


def test_a_real_man_is_placed_within_centimetres() -> None:
    """Pose2Sim's triangulated man, his own 2D and root-relative 3D: intrinsics, lens, height."""
    path = SHARED / "data" / "pose2sim" / "labels.npz"
    if not path.is_file():
        pytest.skip(f"no labels at {path}")
    with np.load(path, allow_pickle=False) as labels:
        names = [str(n) for n in labels["joint_names"]]
        joints_m, pixels = labels["joints3d_cam_mm"] / 1000, labels["joints2d_px"]
        valid, intrinsics, dist = labels["joint_valid"], labels["K"], labels["dist"]
    limbs = [n for n in names if n.split("_")[-1] in
             ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")]  # fmt: skip
    at = [names.index(n) for n in limbs]
    pelvis = joints_m[:, :, [names.index("left_hip"), names.index("right_hip")]].mean(2)

    def chain(points: np.ndarray, index: dict[str, int]) -> float:
        """Thighs, shins, upper arms and forearms, summed."""
        bones_of = ("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")
        ends = np.array(
            [(index[f"{s}_{a}"], index[f"{s}_{b}"]) for s in ("left", "right") for a, b in bones_of]
        )
        bones = np.linalg.norm(points[:, ends[:, 0]] - points[:, ends[:, 1]], axis=-1)
        return float(np.median(bones, 0).sum())

    rest = (RIG.above @ RIG.offsets)[None]
    size = chain(joints_m[0], {n: i for i, n in enumerate(names)}) / chain(rest, J3D)
    for c in range(4):
        k = intrinsics[c]
        camera = Camera(k[0, 0], k[1, 1], k[0, 2], k[1, 2], 1088, 1920, tuple(dist[c]))
        poses = []
        for f in range(0, 100, 10):
            body, score = np.zeros((JOINTS, 3)), np.zeros(JOINTS)
            px, seen2d = np.zeros((18, 2)), np.zeros(18)
            body[[J3D[n] for n in limbs]] = (joints_m[c, f, at] - pelvis[c, f]) / size
            score[[J3D[n] for n in limbs]] = valid[f, at]
            score[ROOT] = 1
            px[[J2D[n] for n in limbs]] = pixels[c, f, at]
            seen2d[[J2D[n] for n in limbs]] = valid[f, at]
            poses.append(Pose3D(PartialPose(px, seen2d, np.zeros((18, 63)), 0.9), body, score))
        people = fit_single(poses, camera, FitOptions(height_m=1.70 * size))
        root = np.stack([p.root_m for p in people])
        off = np.abs(root - pelvis[c, ::10])
        assert off[:, :2].mean() < 0.02
        assert off[:, 2].mean() < 0.08
    assert len(FROM_COCO17) == len(JOINTS2D)


def test_limbs_get_the_lengths_of_the_rig_and_keep_their_directions() -> None:
    from xnect.evidence import on_bones

    points, _ = bodies(3, seed=3)
    joints = points[:, :JOINTS] - points[:, ROOT, None]
    lengths = np.linalg.norm(joints - joints[:, PARENTS], axis=-1)
    np.testing.assert_allclose(on_bones(joints, lengths), joints, atol=1e-12)
    shrunk = joints.copy()  # as the mean over several arms and legs
    for side in ("left", "right"):
        for a, b in (("shoulder", "elbow"), ("hip", "knee")):
            start, end = J3D[f"{side}_{a}"], J3D[f"{side}_{b}"]
            tips = [J3D[f"{side}_{n}"] for n in ("wrist", "hand")] * (b == "elbow")
            tips += [J3D[f"{side}_{n}"] for n in ("ankle", "foot")] * (b == "knee")
            shift = 0.3 * (shrunk[:, start] - shrunk[:, end])
            shrunk[:, [end, *tips]] += shift[:, None]
    np.testing.assert_allclose(on_bones(shrunk, lengths), joints, atol=1e-12)
