"""Evidence that is wrong, missing or impossible: numbers come out, in one stated way each."""

from dataclasses import replace

import numpy as np
import pytest
from test_fit import CAMERA, PARENTS, bodies, seen, stream

from xnect.calib.floor import Floor
from xnect.energy import Weights
from xnect.errors import BadInput
from xnect.first_pose import first_pose
from xnect.fit import FitOptions, fit, fit_single
from xnect.kinematics import Pose, anatomical
from xnect.residuals import FEET
from xnect.rig import JOINTS, RIG
from xnect.rotations import matrix_from_quat, matrix_from_rotvec, quat_from_matrix
from xnect.skeleton import FACE, FLIP2D, FLIP3D, J2D, J3D, ROOT
from xnect.starts import StartOptions
from xnect.track import Track, Tracker
from xnect.types import Person, Pose3D


def sound(person: Person) -> None:
    """Finite, in front of the camera, with the bones it says."""
    assert np.isfinite(person.joints3d_m).all()
    assert np.isfinite(person.rotations_quat_wxyz).all()
    assert np.allclose(np.linalg.norm(person.rotations_quat_wxyz, axis=-1), 1)
    assert person.root_m[2] > 0.2
    bones = np.linalg.norm(person.joints3d_m - person.joints3d_m[PARENTS], axis=-1)
    assert np.allclose(bones, person.bone_lengths_m, atol=1e-9)


def off_m(person: Person, points: np.ndarray) -> float:
    """Mean distance from the truth, from the pelvis."""
    mine = person.joints3d_m - person.root_m
    return float(np.linalg.norm(mine - points[:JOINTS] + points[ROOT], axis=-1).mean())


def with_partial(pose: Pose3D, **changes: np.ndarray) -> Pose3D:
    return replace(pose, partial=replace(pose.partial, **changes))


def test_one_visible_joint_puts_the_lifted_pose_on_its_ray() -> None:
    points, _ = bodies(1)
    pose = seen(points)[0]
    score = np.where(np.arange(18) == J2D["left_hip"], 0.8, 0.0)
    person = fit_single([with_partial(pose, score=score)], CAMERA)[0]
    sound(person)
    hip_px = CAMERA.project(person.joints3d_m[J3D["left_hip"]])
    assert np.linalg.norm(hip_px - pose.partial.joints_px[J2D["left_hip"]]) < 40
    assert off_m(person, points[0]) < 0.05


@pytest.mark.parametrize("nearer", [0.15, 0.4, 1.0, 2.0])
def test_a_face_alone_tells_how_far_somebody_is(nearer: float) -> None:
    rest = (RIG.above @ RIG.offsets) * (1, -1, -1)  # upright, towards the camera
    points = rest + np.array([0.1, 0.5, 4.0 * nearer])
    pixels, px = CAMERA.project(points[RIG.seen]), np.zeros((18, 2))
    px[FACE] = pixels[FACE]
    score = np.where(np.isin(np.arange(18), FACE), 0.9, 0.0)
    pose = with_partial(seen(points[None])[0], joints_px=px, score=score)
    person = fit_single([pose], CAMERA)[0]
    sound(person)
    head = J3D["head"]
    assert person.joints3d_m[head, 2] == pytest.approx(points[head, 2], rel=0.05)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_joints_on_one_line_or_in_one_point_give_a_sound_person(direction: tuple) -> None:
    pixels = np.array([640, 360]) + np.outer(np.linspace(-100, 100, 18), direction)
    along = np.zeros((JOINTS, 3))
    along[:, :2] = np.outer(np.linspace(-0.8, 0.8, JOINTS), direction)
    pose = seen(bodies(1)[0])[0]
    for joints in (along - along[ROOT], np.zeros((JOINTS, 3)), pose.joints_m):
        sound(
            fit_single([replace(with_partial(pose, joints_px=pixels), joints_m=joints)], CAMERA)[0]
        )


@pytest.mark.parametrize("roll", [np.pi, np.pi / 2, -np.pi / 2])
def test_somebody_upside_down_or_lying_is_fitted_like_anybody(roll: float) -> None:
    points, _ = bodies(4, seed=11)
    centre = points[:, ROOT, None]
    turned = (points - centre) @ matrix_from_rotvec(np.array([0, 0, roll])).T + centre
    for person, truth in zip(fit_single(seen(turned), CAMERA), turned, strict=True):
        sound(person)
        assert off_m(person, truth) < 0.04


def test_somebody_lying_along_the_line_of_sight_is_fitted() -> None:
    points, _ = bodies(2, seed=12)
    centre = points[:, ROOT, None]
    turned = (points - centre) @ matrix_from_rotvec(np.array([np.pi / 2, 0, 0])).T + centre
    for person, truth in zip(fit_single(seen(turned), CAMERA), turned, strict=True):
        sound(person)
        assert off_m(person, truth) < 0.06


def test_detections_that_teleport_move_the_person_at_once() -> None:
    points, _ = bodies(1, seed=1, spread=0.2)
    there = points + np.array((1.5, 0, 0.5))
    last = fit_single(seen(points), CAMERA)[0]
    track = Track(1, seen(there)[0], frames=30, previous=last, previous_time_s=0.0)
    person = fit([track], CAMERA, 1 / 30)[0]
    sound(person)
    assert np.abs(person.root_m - there[0, ROOT]).max() < 0.2


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_evidence_that_is_no_number_counts_as_missing(number: float) -> None:
    points, _ = bodies(1, seed=2)
    pose = seen(points)[0]
    bad = with_partial(
        pose, joints_px=pose.partial.joints_px.copy(), score=pose.partial.score.copy()
    )
    bad = replace(bad, joints_m=pose.joints_m.copy(), score=pose.score.copy())
    absent = with_partial(bad, score=pose.partial.score.copy())
    absent = replace(absent, score=pose.score.copy())
    for name in ("left_wrist", "right_knee"):
        bad.partial.joints_px[J2D[name]] = number
        bad.joints_m[J3D[name]] = number
        absent.partial.score[J2D[name]] = absent.score[J3D[name]] = 0
    bad.partial.score[J2D["nose"]] = number
    absent.partial.score[J2D["nose"]] = 0
    one, other = fit_single([bad], CAMERA)[0], fit_single([absent], CAMERA)[0]
    sound(one)
    assert np.allclose(one.joints3d_m, other.joints3d_m)


def test_nothing_but_nan_is_a_sound_person_at_an_unknown_place() -> None:
    pose = seen(bodies(1)[0])[0]
    nothing = with_partial(pose, joints_px=np.full((18, 2), np.nan))
    sound(fit_single([replace(nothing, joints_m=np.full((JOINTS, 3), np.nan))], CAMERA)[0])


@pytest.mark.parametrize("time_s", [1.0, 0.5])
def test_a_time_that_repeats_or_runs_backwards_is_fitted_as_a_new_person(time_s: float) -> None:
    """`Tracker.match` refuses such times; a fit without it forgets the past."""
    points, _ = bodies(1, seed=4)
    pose = seen(points, noise_m=0.03)[0]
    elsewhere = fit_single(seen(bodies(1, seed=5)[0]), CAMERA)[0]
    track = Track(0, pose, previous=elsewhere, previous_time_s=1.0)
    person = fit([track], CAMERA, time_s)[0]
    sound(person)
    assert np.allclose(person.joints3d_m, fit_single([pose], CAMERA)[0].joints3d_m)
    tracker = Tracker()
    tracker.match([pose], None, 1.0)
    with pytest.raises(BadInput, match="time must increase"):
        tracker.match([pose], None, time_s)


def test_two_frames_at_almost_the_same_time_stay_sound() -> None:
    points, _ = bodies(1, seed=4)
    poses = seen(points, noise_m=0.03)
    tracker, times = Tracker(), (0.0, 1e-9, 2e-9, 1 / 30, 1 / 30 + 1e-7)
    for time_s in times:
        people = fit(tracker.match(poses, None, time_s), CAMERA, time_s)
        tracker.remember(people)
        sound(people[0])
        assert off_m(people[0], points[0]) < 0.08


def swapped(pose: Pose3D, parts: tuple[str, ...]) -> Pose3D:
    """Left and right of these joints exchanged, as a detector does it."""
    two, three = np.arange(18), np.arange(JOINTS)
    for part in parts:
        for side in ("left", "right"):
            if f"{side}_{part}" in J2D:
                two[J2D[f"{side}_{part}"]] = FLIP2D[J2D[f"{side}_{part}"]]
            three[J3D[f"{side}_{part}"]] = FLIP3D[J3D[f"{side}_{part}"]]
    moved = with_partial(pose, joints_px=pose.partial.joints_px[two])
    return replace(moved, joints_m=pose.joints_m[three])


LEGS = ("hip", "knee", "ankle", "foot")


@pytest.mark.parametrize("parts", [LEGS, ("shoulder", "elbow", "wrist", "hand")])
def test_limbs_that_change_sides_for_some_frames_do_not_cross(parts: tuple[str, ...]) -> None:
    points, _ = bodies(1, seed=6, spread=0.15)
    right = [seen(points, noise_px=2, noise_m=0.02, seed=i) for i in range(20)]
    frames = [[swapped(poses[0], parts)] if 8 <= i < 12 else poses for i, poses in enumerate(right)]
    for frame in stream(frames):
        assert off_m(frame[0], points[0]) < 0.08


@pytest.mark.parametrize("parts", [LEGS, ("shoulder", "elbow", "wrist", "hand")])
def test_the_exchanged_limbs_of_many_poses_are_hardly_felt(parts: tuple[str, ...]) -> None:
    """All of the evidence is exchanged in a further start: rays, joints and bones."""
    off = []
    for seed in range(8):
        points, _ = bodies(1, seed=seed)
        right = [seen(points, noise_px=2, noise_m=0.02, seed=i) for i in range(12)]
        frames = [[swapped(p[0], parts)] if 8 <= i else p for i, p in enumerate(right)]
        off.append(np.mean([off_m(frame[0], points[0]) for frame in stream(frames)[8:]]))
    assert np.mean(off) < 0.04


def test_somebody_born_with_crossed_legs_uncrosses_them() -> None:
    points, _ = bodies(1, seed=6, spread=0.15)
    right = [seen(points, noise_px=2, noise_m=0.02, seed=i) for i in range(12)]
    frames = [[swapped(poses[0], LEGS)] if i < 2 else poses for i, poses in enumerate(right)]
    assert off_m(stream(frames)[-1][0], points[0]) < 0.08


def test_a_last_pose_that_is_mirrored_in_depth_is_left_at_once() -> None:
    points, _ = bodies(3, seed=7)
    relative = points[:, :JOINTS] - points[:, ROOT, None]
    wrong = first_pose(relative * (1, 1, -1))
    people = fit_single(seen(points), CAMERA)
    quats = quat_from_matrix(wrong.local)
    tracks = [
        Track(i + 1, pose, previous=replace(p, rotations_quat_wxyz=q), previous_time_s=0.0)
        for i, (pose, p, q) in enumerate(zip(seen(points), people, quats, strict=True))
    ]
    found = fit(tracks, CAMERA, 1 / 30)
    stuck = fit(tracks, CAMERA, 1 / 30, FitOptions(starts=StartOptions(most=0)))
    for person, other, truth in zip(found, stuck, points, strict=True):
        assert off_m(person, truth) < 0.06
        assert off_m(person, truth) <= off_m(other, truth) + 1e-6


def test_feet_below_the_floor_are_lifted_and_standing_feet_slip_less() -> None:
    points, _ = bodies(1, seed=0, spread=0.0)
    ground_m = float(points[0, FEET, 1].max()) + 0.013
    floor = Floor((0.0, -1.0, 0.0), ground_m)
    slips, sunk = [], []
    free = FitOptions(weights=Weights(stand=0.0))
    for known in (None, floor):
        tracker, feet = Tracker(), []
        for i in range(25):
            poses = seen(points, noise_px=6, noise_m=0.05, seed=i)
            people = fit(tracker.match(poses, None, i / 30), CAMERA, i / 30, free, floor=known)
            tracker.remember(people)
            feet.append(people[0].joints3d_m[FEET])
        across = np.diff(np.stack(feet)[5:], axis=0)[..., [0, 2]]
        slips.append(np.linalg.norm(across, axis=-1).mean())
        sunk.append(np.maximum(np.stack(feet)[5:, :, 1] - ground_m, 0).max())
    assert slips[1] < 0.8 * slips[0]
    assert sunk[1] < 0.002
    assert sunk[1] <= sunk[0]


def test_somebody_who_comes_nearer_without_a_step_is_not_held_back_by_the_feet() -> None:
    points, _ = bodies(1, seed=0, spread=0.0)
    late_m = {}
    for along in (1.0, Weights().stand_along, 0.0):
        options, tracker = FitOptions(weights=Weights(stand_along=along)), Tracker()
        for i in range(45):
            nearer = points - (0, 0, i / 30)  # on wheels, at 1 m/s
            tracks = tracker.match(seen(nearer), None, i / 30)
            people = fit(tracks, CAMERA, i / 30, options)
            tracker.remember(people)
        late_m[along] = people[0].root_m[2] - nearer[0, ROOT, 2]
    held, half, free = late_m.values()
    assert half < 0.7 * held
    assert abs(free) < 0.06


def test_feet_that_stand_slip_less_without_a_known_floor_and_bodies_stay_as_near() -> None:
    points, _ = bodies(1, seed=0, spread=0.0)
    slips, off = [], []
    for weight in (0.0, Weights().stand):
        options, tracker, feet, away = FitOptions(weights=Weights(stand=weight)), Tracker(), [], []
        for i in range(25):
            poses = seen(points, noise_px=3, noise_m=0.03, seed=i)
            people = fit(tracker.match(poses, None, i / 30), CAMERA, i / 30, options)
            tracker.remember(people)
            feet.append(people[0].joints3d_m[FEET])
            away.append(off_m(people[0], points[0]))
        slips.append(np.linalg.norm(np.diff(np.stack(feet)[5:], axis=0), axis=-1).mean())
        off.append(np.mean(away))
    assert slips[1] < 0.8 * slips[0]
    assert off[1] < 1.1 * off[0]


def test_a_foot_that_sets_off_is_let_go_at_once() -> None:
    still, _ = bodies(1, seed=0, spread=0.0)
    far = {}
    for weight in (0.0, Weights().stand):
        options, tracker = FitOptions(weights=Weights(stand=weight)), Tracker()
        for i in range(20):
            there = still.copy()
            there[..., 0] += max(0, i - 10) * 1.2 / 30  # all at once at 1.2 m/s
            people = fit(tracker.match(seen(there), None, i / 30), CAMERA, i / 30, options)
            tracker.remember(people)
        far[weight] = float(np.abs(people[0].joints3d_m[FEET] - there[0, FEET]).max())
    assert far[Weights().stand] < far[0.0] + 0.01


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 0, 0)])
def test_somebody_who_falls_over_is_followed_all_the_way_round(axis: tuple) -> None:
    points, _ = bodies(1, seed=11)
    centre, tracker = points[:, ROOT, None], Tracker()
    for i in range(46):  # half a turn in one second, then still: on the head
        roll = np.pi * min(i / 30, 1)
        there = (points - centre) @ matrix_from_rotvec(roll * np.array(axis, float)).T + centre
        people = fit(tracker.match(seen(there), None, i / 30), CAMERA, i / 30)
        tracker.remember(people)
        sound(people[0])
        assert off_m(people[0], there[0]) < 0.15
    assert people[0].track_id == 1
    assert off_m(people[0], there[0]) < 0.05
    local = matrix_from_quat(people[0].rotations_quat_wxyz)[None]
    angles, _ = anatomical(Pose(np.zeros((1, 3)), local))
    assert (angles >= RIG.lower_rad - 0.1).all() and (angles <= RIG.upper_rad + 0.1).all()


def test_a_jumping_person_is_not_held_on_the_floor() -> None:
    points, _ = bodies(1, seed=0, spread=0.0)
    floor = Floor((0.0, -1.0, 0.0), float(points[0, FEET, 1].max()) + 0.013)
    tracker = Tracker()
    for i in range(20):
        rise = 0.5 * np.sin(np.pi * max(0, i - 5) / 14)
        there = points - (0, rise, 0)
        people = fit(tracker.match(seen(there), None, i / 30), CAMERA, i / 30, floor=floor)
        tracker.remember(people)
        assert abs(people[0].root_m[1] - there[0, ROOT, 1]) < 0.08


def test_what_comes_out_is_within_the_limits_whatever_goes_in() -> None:
    rng = np.random.default_rng(0)
    poses = seen(bodies(6, seed=9)[0])
    not_root = (np.arange(JOINTS) != ROOT)[:, None]
    wild = [replace(p, joints_m=rng.normal(0, 0.5, (JOINTS, 3)) * not_root)
            for p in poses]  # fmt: skip
    people = fit_single(wild, CAMERA)
    local = np.stack([matrix_from_quat(p.rotations_quat_wxyz) for p in people])
    angles, _ = anatomical(Pose(np.zeros((6, 3)), local))
    hinges = angles[:, -6:]
    assert (hinges >= RIG.lower_rad[-6:] - 1e-6).all()
    assert (hinges <= RIG.upper_rad[-6:] + 1e-6).all()
    for person in people:
        sound(person)
