"""Builds: bones and statures learned from poses made of the rig itself, and of simulated takes."""

from dataclasses import replace

import numpy as np
import pytest
from rig_takes import UPRIGHT

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor, floor_of
from xnect.evidence import body_size
from xnect.fit import FitOptions, fit
from xnect.kinematics import Pose, forward, offsets_m, with_hinges
from xnect.proportions import (
    EXACT,
    LIFTER,
    Builds,
    ProportionOptions,
    lengths_of,
    log_bones,
    resized,
)
from xnect.rig import JOINTS, RIG, SOLES_M
from xnect.rotations import matrix_from_rotvec
from xnect.skeleton import BODY, FLIP3D, J3D, ROOT
from xnect.stature import combined
from xnect.track import Track, Tracker
from xnect.types import PartialPose, Pose3D

CAMERA = Camera(1000.0, 1000.0, 639.5, 359.5, 1280, 720)
TILT = matrix_from_rotvec(np.array([0.15, 0.0, 0.0])) @ UPRIGHT  # camera from world, y up
FLOOR = floor_of(TILT[:, 1], 1.5)
EXACTLY = ProportionOptions(bones=True, response=EXACT, quantile=0.5, too_tall=1.0)
BONES = np.arange(JOINTS) != ROOT


def unusual() -> np.ndarray:
    """(21,) m of a body of reference size with long legs and forearms and narrow shoulders."""
    lengths = BODY.lengths_m.copy()
    for part, factor in (("knee", 1.1), ("ankle", 1.13), ("wrist", 0.88), ("shoulder", 0.88)):
        for side in ("left", "right"):
            lengths[J3D[f"{side}_{part}"]] *= factor
    lengths[J3D["spine"]] *= 0.9
    return lengths / body_size(lengths)


def standing(
    count, *, lengths_m=BODY.lengths_m, stature_m=1.70, depth_m=4.0, up_m=0.0, noise_m=0.0, seed=0
):
    """Poses of reference size of somebody who stands and moves the arms; (F, 21, 3) m the truth."""
    rng = np.random.default_rng(seed)
    size = stature_m / 1.70
    local = np.tile(np.eye(3), (count, JOINTS, 1, 1))
    turn = np.array([0, 1, 0]) * 0.4 * np.sin(np.arange(count) / 9)[:, None]
    local[:, ROOT] = TILT @ matrix_from_rotvec(turn)
    arms = 0.6 * np.sin(np.arange(count)[:, None, None] / 7 + rng.uniform(0, 6, (2, 3)))
    local[:, [J3D["left_shoulder"], J3D["right_shoulder"]]] = matrix_from_rotvec(arms)
    pose = with_hinges(Pose(np.zeros((count, 3)), local), np.full((count, len(RIG.hinges)), 0.05))
    points = forward(pose, offsets_m(np.tile(lengths_m, (count, 1)))).points_m  # (F, N, 3)
    feet = points[:, [J3D["left_ankle"], J3D["right_ankle"]]] @ TILT[:, 1]
    under = feet.min() - SOLES_M["ankle"]
    at = TILT @ np.array([0.2, -1.5 + up_m - size * under, 0.0])
    along = TILT @ np.array([0.0, 0.0, -1.0])
    at = at + along * (depth_m - at[2]) / along[2]
    there = points * size + at
    poses = []
    for body, place in zip(points, there, strict=True):
        pixels = CAMERA.project(place[RIG.seen])
        pixels = pixels + rng.normal(0, 1000 * noise_m * size / depth_m, pixels.shape)
        joints = body[:JOINTS] + rng.normal(0, noise_m, (JOINTS, 3))
        partial = PartialPose(pixels, np.full(18, 0.8), np.zeros((18, 63)), 0.9)
        poses.append(Pose3D(partial, joints - joints[ROOT], np.full(JOINTS, 0.8)))
    return poses, there[:, :JOINTS]


def learned(poses, options, *, floor: Floor | None = None, builds=None, fps=30):
    builds = builds or Builds(options)
    camera = replace(CAMERA, floor=floor)
    given = []
    for f, pose in enumerate(poses):
        if builds.observe([Track(1, pose)], camera, f / fps):
            given.append((f, builds[1]))
    return builds[1], given


def followed(poses, options, floor):
    """Root depths of the fit, and the last person."""
    camera, tracker, builds = replace(CAMERA, floor=floor), Tracker(), Builds(options)
    depths, people = [], ()
    for f, pose in enumerate(poses):
        tracks = tracker.match([pose], None, f / 30)
        people = fit(tracks, camera, f / 30, floor=floor)
        tracker.remember(people)
        builds.update(tracker, tracks, people, camera, f / 30)
        depths.append(people[0].root_m[2])
    return np.array(depths), people[0], builds[1]


def off_m(lengths, truth):
    return np.abs(lengths - truth)[BONES].mean()


@pytest.mark.parametrize("response", [EXACT, LIFTER])
def test_builds_are_symmetric_and_of_reference_size(response) -> None:
    options = ProportionOptions(bones=True, response=response)
    poses, _ = standing(20, lengths_m=unusual(), noise_m=0.03)
    build, given = learned(poses, options)
    assert [f + 1 for f, _ in given] == [5, 15]
    np.testing.assert_array_equal(build.lengths_m, build.lengths_m[list(FLIP3D)])
    assert body_size(build.lengths_m) == pytest.approx(1)
    assert build.lengths_m[ROOT] == 0 and (build.lengths_m[BONES] > 0).all()


def test_bones_change_in_steps_and_never_after_the_last() -> None:
    options = replace(EXACTLY, steps=(3, 8), bones_settled=0.0)
    poses, _ = standing(12, lengths_m=unusual(), noise_m=0.03)
    builds, seen = Builds(options), []
    for f, pose in enumerate(poses):
        builds.observe([Track(1, pose)], CAMERA, f / 30)
        seen.append(builds[1])
    assert [b.frozen for b in seen] == [False] * 7 + [True] * 5
    changes = [f for f in range(1, 12) if (seen[f].lengths_m != seen[f - 1].lengths_m).any()]
    assert changes == [2, 7]
    other, _ = standing(30, seed=5)
    frozen, given = learned(other, options, builds=builds)
    assert not given
    np.testing.assert_array_equal(frozen.lengths_m, seen[-1].lengths_m)


def test_settled_bones_freeze_early() -> None:
    poses, _ = standing(16, lengths_m=unusual())
    assert learned(poses, replace(EXACTLY, bones_settled=0.045))[0].frozen
    assert not learned(poses, replace(EXACTLY, bones_settled=0.0))[0].frozen


def test_the_order_of_frames_does_not_matter() -> None:
    poses, _ = standing(45, lengths_m=unusual(), noise_m=0.03)
    samples = np.array([log_bones(p, EXACTLY) for p in poses])
    mixed = np.random.default_rng(0).permutation(samples)
    np.testing.assert_allclose(lengths_of(samples, EXACTLY)[0], lengths_of(mixed, EXACTLY)[0])
    one, _ = learned(poses, EXACTLY, floor=FLOOR)
    back, _ = learned(poses[::-1], EXACTLY, floor=FLOOR)
    assert back.stature_m == pytest.approx(one.stature_m, abs=0.01)


def test_noise_of_2_cm_leaves_bones_better_than_the_prior() -> None:
    truth = unusual()
    poses, _ = standing(45, lengths_m=truth, noise_m=0.02)
    build, _ = learned(poses, EXACTLY)
    assert off_m(build.lengths_m, truth) < 0.5 * off_m(BODY.lengths_m, truth)


def test_few_frames_stay_near_the_prior() -> None:
    truth = unusual()
    poses, _ = standing(45, lengths_m=truth, noise_m=0.02)
    samples = np.array([log_bones(p) for p in poses])
    few, sd_few = lengths_of(samples[:1])
    many, sd_many = lengths_of(samples)
    assert off_m(few, BODY.lengths_m) < 0.75 * off_m(many, BODY.lengths_m)
    assert (sd_few > sd_many)[:2].all()  # thighs and shanks; short bones are hardly measured
    none, sd = lengths_of(samples[:0])
    np.testing.assert_allclose(none, BODY.lengths_m)
    assert sd == pytest.approx([one.spread for one in LIFTER.values()])


def test_a_child_of_a_single_picture_is_not_taken_for_an_adult_far_away() -> None:
    poses, truth = standing(1, stature_m=1.15, depth_m=4.0, noise_m=0.01)
    camera = replace(CAMERA, floor=FLOOR)
    (track,) = Builds().alone(poses, camera)
    (child,) = fit([track], camera, 0.0, floor=FLOOR)
    (adult,) = fit(Builds().alone(poses, CAMERA), CAMERA, 0.0)
    true_m = truth[0, ROOT, 2]
    assert child.root_m[2] == pytest.approx(true_m, rel=0.06)
    assert adult.root_m[2] == pytest.approx(true_m * 1.70 / 1.15, rel=0.06)  # all that can be said
    stature_m = 1.70 * body_size(child.bone_lengths_m)
    assert abs(stature_m - 1.15) < 2 * child.stature_sd_m < 0.4
    assert adult.stature_sd_m == pytest.approx(0.2, abs=0.03)


def test_a_child_on_a_floor_is_small_and_near() -> None:
    poses, truth = standing(50, stature_m=1.15, noise_m=0.01)
    adult, _, _ = followed(poses, ProportionOptions(), None)
    depths, person, build = followed(poses, ProportionOptions(), FLOOR)
    true_m = truth[:, ROOT, 2]
    assert (adult[-5:] / true_m[-5:]).mean() > 1.4  # what a stature of 1.70 m makes of it
    assert abs(build.stature_m - 1.15) < 0.06
    assert abs(build.stature_m - 1.15) < 3 * build.stature_sd_m < 0.2
    assert np.abs(depths[8:] / true_m[8:] - 1).max() < 0.05
    assert body_size(person.bone_lengths_m) * 1.70 == pytest.approx(build.stature_m)
    jumps = np.flatnonzero(np.abs(np.diff(depths)) > 0.2)
    assert set(jumps) <= {5, 6, 7, 8}  # from adult to child at once, no swinging about


@pytest.mark.parametrize("fps", [10, 4, 3, 2, 1.1, 1, 0.3])
def test_a_child_is_measured_at_any_frame_rate(fps) -> None:
    poses, _ = standing(50, stature_m=1.20, noise_m=0.01)
    build, _ = learned(poses, ProportionOptions(), floor=FLOOR, fps=fps)
    assert abs(build.stature_m - 1.20) < 0.06


@pytest.mark.parametrize("stature_m", [1.5, 1.85])
def test_others_get_their_stature_too(stature_m) -> None:
    poses, _ = standing(50, stature_m=stature_m, depth_m=5.0, noise_m=0.01)
    build, _ = learned(poses, replace(EXACTLY, adults_sd_m=0.12), floor=FLOOR)
    assert abs(build.stature_m - stature_m) < 0.06


@pytest.mark.parametrize("up_m", [0.2, 0.8, 1.4, 1.6, 2.5])
def test_feet_in_the_air_do_not_explode(up_m) -> None:
    poses, _ = standing(50, up_m=up_m, noise_m=0.01)
    build, _ = learned(poses, ProportionOptions(), floor=FLOOR)
    assert 1.5 < build.stature_m < 2.1
    nothing_known = Builds(ProportionOptions())[1].stature_sd_m
    assert 0 < build.stature_sd_m <= nothing_known


@pytest.mark.parametrize("fps", [30, 10, 3, 1.1])
def test_feet_that_move_say_nothing(fps) -> None:
    poses, _ = standing(50)
    way_px = max(12, 120 / fps)  # of 250 px/m
    shifted = [
        replace(
            p, partial=replace(p.partial, joints_px=p.partial.joints_px + np.array([way_px * f, 0]))
        )
        for f, p in enumerate(poses)
    ]
    assert learned(shifted, ProportionOptions(), floor=FLOOR, fps=fps)[1] == []


def test_a_pause_of_the_video_makes_no_speed_of_two_distant_frames() -> None:
    poses, _ = standing(4)
    for pause_s in (0.5, 2.0):
        builds = Builds(ProportionOptions(steps=(1,)))
        times = (0.0, 1 / 30, 1 / 30 + pause_s)
        camera = replace(CAMERA, floor=FLOOR)
        for pose, time_s in zip(poses, times, strict=False):
            assert builds.observe([Track(1, pose)], camera, time_s) == []


def test_a_given_stature_is_believed_of_one_person_alone() -> None:
    poses, _ = standing(50, stature_m=1.70)
    options = ProportionOptions(given=True)
    alone = Builds(options, height_m=1.8)
    build, _ = learned(poses, options, floor=FLOOR, builds=alone)
    assert build.stature_m == pytest.approx(1.8, abs=0.015)
    assert build.stature_sd_m < 0.011
    among = Builds(options, height_m=1.8)
    among.observe([Track(7, poses[0])], CAMERA, -1.0)
    build, _ = learned(poses, options, floor=FLOOR, builds=among)
    assert abs(build.stature_m - 1.70) < 0.04


def given_of(places_m, floor=None):
    """{track_id: stature_sd_m} of each frame, with a given stature; `places_m` x of each body."""
    options = ProportionOptions(given=True)
    camera, tracker, builds = replace(CAMERA, floor=floor), Tracker(), Builds(options, 1.8)
    start = FitOptions(height_m=1.8, stature_sd_m=options.adults_sd_m)
    (pose,), _ = standing(1)
    frames = []
    for f, xs in enumerate(places_m):
        seen = [pose.partial.joints_px + np.array([250.0 * x, 0]) for x in xs]
        poses = [replace(pose, partial=replace(pose.partial, joints_px=px)) for px in seen]
        tracks = tracker.match(poses, None, f / 30)
        people = fit(tracks, camera, f / 30, start, floor=floor)
        tracker.remember(people)
        builds.update(tracker, tracks, people, camera, f / 30)
        frames.append({p.track_id: p.stature_sd_m for p in people})
        assert all(p.bone_lengths_m.min() >= 0 for p in people)
    return frames


@pytest.mark.parametrize("floor", [None, FLOOR])
@pytest.mark.parametrize("count", [2, 3])
def test_a_given_stature_is_nobodys_own_when_several_people_are_there(count, floor) -> None:
    together = given_of([np.linspace(-1, 1, count)] * 4)
    assert all(set(frame.values()) == {0.07} for frame in together)
    later = given_of([[0.0]] * 8 + [np.linspace(0, 2, count)] * 12, floor)
    assert later[7][1] == pytest.approx(0.01, abs=1e-3)
    assert all(len(frame) == count for frame in later[12:])
    assert all(0.03 < sd_m <= 0.07 for frame in later[12:] for sd_m in frame.values())


def test_who_was_alone_before_is_not_sure_of_a_given_stature_after_the_other_left() -> None:
    frames = given_of([[0.0]] * 5 + [[0.0, 1.0]] * 6 + [[1.0]] * 12 + [[0.0, 1.0]] * 6 + [[0]] * 12)
    assert all(set(frame.values()) == {0.07} for frame in frames[9:])
    gone = given_of([[0.0]] * 5 + [[]] * 12 + [[2.0]] * 6 + [[0.0, 2.0]] * 8)
    assert set(gone[-1].values()) == {0.07}  # of the one, too, who was away when they were two


def test_joints_that_are_missing_or_not_finite_do_no_harm() -> None:
    poses, _ = standing(50, lengths_m=unusual())
    rng = np.random.default_rng(1)
    worse = []
    for pose in poses:
        gone = rng.random(18) < 0.4
        pixels = np.where(gone[:, None], np.nan, pose.partial.joints_px)
        score = np.where(gone & (rng.random(18) < 0.5), 0.0, pose.partial.score)
        joints = np.where(rng.random((21, 1)) < 0.2, np.nan, pose.joints_m)
        worse.append(replace(pose, partial=replace(pose.partial, joints_px=pixels, score=score),
                             joints_m=joints))  # fmt: skip
    build, _ = learned(worse, ProportionOptions(bones=True), floor=FLOOR)
    assert np.isfinite(build.lengths_m).all()
    assert abs(build.stature_m - 1.70) < 0.1
    nobody = replace(poses[0].partial, score=np.zeros(18), joints_px=np.full((18, 2), np.nan))
    build, given = learned([replace(p, partial=nobody) for p in poses[:20]],
                           ProportionOptions(bones=True), floor=FLOOR)  # fmt: skip
    assert given == [] and np.array_equal(build.lengths_m, BODY.lengths_m)


def test_without_a_floor_and_bones_nothing_changes() -> None:
    poses, _ = standing(20, stature_m=1.3, lengths_m=unusual(), noise_m=0.02)
    build, given = learned(poses, ProportionOptions(bones=False))
    assert given == [] and build.stature_m == 1.70 and build.frozen
    np.testing.assert_array_equal(build.lengths_m, BODY.lengths_m)


def test_a_stature_that_nothing_tells_is_as_unsure_as_the_population_is_wide() -> None:
    options, rng = ProportionOptions(), np.random.default_rng(0)
    child = rng.random(100_000) < options.children
    people_m = np.where(
        child, rng.normal(*options.children_m, len(child)),
        rng.normal(1.70, options.adults_sd_m, len(child)),
    )  # fmt: skip
    sd_m = Builds(options)[1].stature_sd_m
    assert sd_m == pytest.approx(np.sqrt(((people_m - 1.70) ** 2).mean()), rel=0.02)
    assert FitOptions().stature_sd_m == pytest.approx(sd_m, abs=0.005)  # single pictures


def test_people_carry_how_sure_their_stature_is() -> None:
    poses, _ = standing(50, stature_m=1.15, noise_m=0.01)
    _, unknown, build = followed(poses, ProportionOptions(), None)
    assert unknown.stature_sd_m == build.stature_sd_m > 0.15
    _, measured, build = followed(poses, ProportionOptions(), FLOOR)
    assert measured.stature_sd_m == build.stature_sd_m < 0.06
    assert abs(1.70 * body_size(measured.bone_lengths_m) - 1.15) < 3 * measured.stature_sd_m
    _, told, _ = followed(poses, ProportionOptions(given=True), None)
    assert told.stature_sd_m == pytest.approx(ProportionOptions().given_sd_m)


def test_combining_goes_from_the_population_to_the_measurement() -> None:
    population = [(0.85, 1.70, 0.07), (0.15, 1.25, 0.20)]
    assert combined(1.2, 100.0, population)[0] == pytest.approx(1.6325, abs=1e-3)
    assert combined(1.2, 1e-4, population) == pytest.approx((1.2, 1e-4), abs=1e-6)
    assert combined(1.74, 0.07, [(1.0, 1.70, 0.07)]) == pytest.approx((1.72, 0.07 / 2**0.5))


def test_a_resized_person_is_seen_at_the_same_pixels() -> None:
    poses, _ = standing(1)
    person = fit([Track(1, poses[0])], CAMERA, 0.0)[0]
    small = resized(person, 0.7, 0.7 * person.root_m)
    np.testing.assert_allclose(
        CAMERA.project(small.joints3d_m), CAMERA.project(person.joints3d_m), atol=1e-6
    )
    np.testing.assert_allclose(small.joints3d_m[ROOT], small.root_m)


def test_who_is_forgotten_by_the_tracker_is_forgotten_here() -> None:
    """A camera that runs for days does not keep everybody who ever walked by."""
    tracker, builds = Tracker(), Builds(EXACTLY)
    poses, _ = standing(3)
    for when in (0.0, 0.1, 0.2, 100.0, 100.1, 200.0):
        tracks = tracker.match(poses[:1], None, when)
        people = fit(tracks, CAMERA, when)
        tracker.remember(people)
        builds.update(tracker, tracks, people, CAMERA, when)
        assert set(builds._people) == tracker.known() and len(builds._people) == 1
