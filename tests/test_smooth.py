"""Laws of smoothing a whole take: what passes unchanged, what is filled, what stays constant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rig_takes import CAMERA, bones_m, changed, recording, swinging, table, without

from xnect.errors import BadInput
from xnect.kinematics import Pose, hinge_angles, with_hinges
from xnect.recording import PERSON_ROW, load_recording, save_recording
from xnect.resizing import scaled_points
from xnect.rig import RIG
from xnect.rotations import matrix_from_quat, matrix_from_rotvec, quat_from_matrix, quat_from_rotvec
from xnect.skeleton import BODY, J3D, ROOT
from xnect.smooth import SmoothOptions, smooth_take
from xnect.whittaker import penalty, smoothed

TIMES_S = np.arange(40) / 30
UNEVEN_S = np.cumsum(np.random.default_rng(3).uniform(0.01, 0.07, 40))


def noisy(take, seed=0, *, root_m=0.02, rad=0.05):
    """The recording with noise on the root, the balls and the hinges."""
    rng = np.random.default_rng(seed)
    local = matrix_from_quat(take.rotations_quat_wxyz)
    turn = rad * rng.normal(size=(len(local), len(RIG.balls), 3))
    local[:, RIG.balls] = local[:, RIG.balls] @ matrix_from_rotvec(turn)
    root = take.root_m + root_m * rng.normal(size=take.root_m.shape)
    angle = hinge_angles(Pose(root, local))
    pose = with_hinges(Pose(root, local), angle + rad * rng.normal(size=angle.shape))
    columns = table(pose, lengths_m=take.bone_lengths_m.astype(float))
    names = ("root_m", "rotations_quat_wxyz", "joints3d_m", "joints2d_px")
    return changed(take, **{name: columns[name] for name in names})


def walking(time_s=TIMES_S, frames=None, *, rad=0.5, hz=0.7, **kind):
    frames = np.arange(len(time_s)) if frames is None else np.asarray(frames)
    motion = swinging(np.asarray(time_s)[frames], rad=rad, hz=hz)
    return recording(time_s, [(frames, table(motion, **kind))])


def sized(take, hw):
    """The take as its pictures (F, 2) would show it; scaled as a whole."""
    scale = (np.asarray(hw) / take.image_hw)[take.person_frame][:, None, ::-1]
    return changed(
        take, image_hw=np.asarray(hw), joints2d_px=scaled_points(take.joints2d_px, scale)
    )


def turned_by(one, other):
    """(..., 4), (..., 4) -> rad between rotations."""
    dots = np.abs((np.asarray(one, float) * np.asarray(other, float)).sum(-1))
    return 2 * np.arccos(np.clip(dots, 0, 1))


def assert_same_motion(got, want, *, m=1e-5, rad=2e-3):
    np.testing.assert_array_equal(got.person_frame, want.person_frame)
    np.testing.assert_array_equal(got.track_id, want.track_id)
    np.testing.assert_allclose(got.joints3d_m, want.joints3d_m, atol=m)
    np.testing.assert_allclose(got.root_m, want.root_m, atol=m)
    assert turned_by(got.rotations_quat_wxyz, want.rotations_quat_wxyz).max() < rad


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_penalty_is_the_integral_of_the_squared_derivative(order):
    time_s, coefficients = UNEVEN_S, np.array([0.3, -1.0, 2.0, 0.5])[: order + 1]
    bands = penalty(time_s, order)
    full = np.zeros((40, 40))
    for o in range(order + 1):
        rows = np.arange(40 - o)
        full[rows, rows + o] = full[rows + o, rows] = bands[order - o, o:]
    value = np.polynomial.polynomial.polyval(time_s, coefficients)
    derivative = coefficients[order] * np.prod(np.arange(1, order + 1))
    spans_s = (time_s[order:] - time_s[:-order]).sum() / order
    assert value @ full @ value == pytest.approx(derivative**2 * spans_s, rel=1e-6)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_cutoff_is_halved_whatever_the_frame_rate_and_never_delayed(order):
    for fps in (30, 120):
        time_s = np.arange(10 * fps) / fps
        wave = np.stack([np.sin(2 * np.pi * 2 * time_s), np.cos(2 * np.pi * 2 * time_s)], 1)
        got = smoothed(time_s, wave, np.ones(len(wave)), cutoff_hz=2.0, order=order)
        middle = slice(3 * fps, -3 * fps)
        np.testing.assert_allclose(got[middle], wave[middle] / 2, atol=0.02)


def test_weights_as_matrices_are_weights_as_numbers_where_they_are_multiples_of_one():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(40, 3)), rng.uniform(0, 1, 40) * (rng.random(40) < 0.8)
    both = [
        smoothed(UNEVEN_S, values, w, cutoff_hz=3.0, order=2)
        for w in (weight, weight[:, None, None] * np.eye(3))
    ]
    np.testing.assert_allclose(*both, atol=1e-9)


@pytest.mark.parametrize("time_s", [TIMES_S, UNEVEN_S], ids=["even", "uneven"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_still_take_is_unchanged(time_s, order):
    pose = swinging(np.zeros(40))
    take = recording(time_s, [(np.arange(40), table(pose))])
    got = smooth_take(take, SmoothOptions(order=order))
    assert_same_motion(got, take, m=2e-6)
    np.testing.assert_allclose(got.joints2d_px, take.joints2d_px, atol=1e-3)
    assert not got.filled.any()


@pytest.mark.parametrize("time_s", [TIMES_S, UNEVEN_S], ids=["even", "uneven"])
@pytest.mark.parametrize("order", [2, 3])
def test_constant_velocity_and_constant_turning_are_reproduced_to_the_ends(time_s, order):
    pose = swinging(np.zeros(40))
    turn = np.zeros((40, 3))
    turn[:, 1] = 3.0 * time_s  # more than half a turn: no branch of the rotation vector
    local = pose.local.copy()
    local[:, ROOT] = local[:, ROOT] @ matrix_from_rotvec(turn)
    axis = np.array([0.3, 0.5, -0.4])
    local[:, J3D["left_hip"]] = matrix_from_rotvec(0.6 * axis * time_s[:, None])
    root = np.array([-0.5, 0.1, 4.0]) + time_s[:, None] * (1.2, -0.2, 0.8)
    pose = with_hinges(Pose(root, local), hinge_angles(pose) + 0.1 * time_s[:, None])
    take = recording(time_s, [(np.arange(40), table(pose))])
    assert_same_motion(smooth_take(take, SmoothOptions(order=order)), take, m=2e-5)


def test_noise_becomes_less_and_the_motion_stays():
    truth = walking(np.arange(90) / 30)
    take = noisy(truth)
    got = smooth_take(take)
    error = [np.linalg.norm(r.joints3d_m - truth.joints3d_m, axis=-1).mean() for r in (take, got)]
    assert error[1] < 0.6 * error[0]
    jerk = [np.linalg.norm(np.diff(r.joints3d_m, 3, axis=0), axis=-1).mean() for r in (take, got)]
    assert jerk[1] < 0.15 * jerk[0]


@pytest.mark.parametrize(("hz", "least"), [(1.0, 0.97), (2.0, 0.9), (3.0, 0.85)])
def test_quick_swings_keep_their_size(hz, least):
    time_s = np.arange(150) / 30
    take = walking(time_s, rad=0.35, hz=hz)
    shoulder = J3D["left_shoulder"]
    sizes = []
    for one in (take, smooth_take(take)):
        turned = matrix_from_quat(one.rotations_quat_wxyz[:, shoulder].astype(float))[30:120]
        sizes.append(np.std(turned, axis=0).sum())
    assert sizes[1] > least * sizes[0]


def test_what_jumps_away_for_some_frames_is_no_quick_motion():
    take = recording(TIMES_S, [(np.arange(40), table(swinging(TIMES_S, rad=0.1, hz=0.3)))])
    quats = take.rotations_quat_wxyz.copy()
    for joint in (J3D["left_shoulder"], J3D["right_hip"]):
        quats[18:21, joint] = quat_from_rotvec(np.array([0, 1.2, 0]))
    smooth = smooth_take(changed(take, rotations_quat_wxyz=quats))
    assert turned_by(smooth.rotations_quat_wxyz, take.rotations_quat_wxyz).max() < 0.3


def test_smoothing_the_take_backwards_is_the_smoothed_take_backwards():
    take = noisy(walking(UNEVEN_S))
    names = ("person_frame", *PERSON_ROW.names)

    def backwards(r):
        rows = {name: getattr(r, name)[::-1] for name in names}
        rows["person_frame"] = len(r.time_s) - 1 - rows["person_frame"]
        return replace(r, time_s=(r.time_s[-1] + r.time_s[0] - r.time_s)[::-1], **rows)

    one, other = smooth_take(backwards(take)), backwards(smooth_take(take))
    assert_same_motion(one, other, m=2e-5)
    np.testing.assert_allclose(one.joints2d_px, other.joints2d_px, atol=2e-3)


def test_bones_are_constant_and_hinges_stay_hinges_within_their_limits():
    truth = walking()
    lengths = np.tile(1.1 * BODY.lengths_m, (40, 1))
    lengths[:6] *= 0.8  # the first frames knew them badly
    got = smooth_take(noisy(changed(truth, bone_lengths_m=lengths), rad=0.3))
    np.testing.assert_allclose(got.bone_lengths_m, np.tile(1.1 * BODY.lengths_m, (40, 1)), 1e-5)
    assert np.ptp(bones_m(got.joints3d_m), axis=0).max() < 1e-5
    pose = Pose(got.root_m, matrix_from_quat(got.rotations_quat_wxyz))
    angle = hinge_angles(pose)
    assert (angle >= RIG.lower_rad[-6:] - 1e-5).all()
    assert (angle <= RIG.upper_rad[-6:] + 1e-5).all()
    assert angle.min() < RIG.lower_rad[-6:].max() + 0.02  # the limit was touched
    np.testing.assert_allclose(pose.local, with_hinges(pose, angle).local, atol=1e-5)


def test_a_body_of_another_size_is_moved_along_the_view():
    truth = walking()
    lengths = np.tile(BODY.lengths_m, (40, 1))
    lengths[:10] *= 0.5
    root = truth.root_m.astype(float)
    root[:10] *= 0.5
    got = smooth_take(changed(truth, bone_lengths_m=lengths, root_m=root))
    np.testing.assert_allclose(got.root_m, smooth_take(truth).root_m, atol=1e-5)


def test_a_short_gap_is_filled_and_marked_and_a_long_one_is_not():
    time_s = np.arange(90) / 30
    truth = walking(time_s)
    short, long = np.arange(20, 30), np.arange(50, 70)
    take = without(noisy(truth, rad=0.01, root_m=0.003), np.concatenate([short, long]))
    got = smooth_take(take)
    assert got.person_frame.tolist() == [f for f in range(90) if f not in long]
    assert got.person_frame[got.filled].tolist() == short.tolist()
    rows = np.flatnonzero(got.filled)
    assert (got.joints2d_score[rows] == 0).all()
    assert ((got.score[rows] > 0) & (got.score[rows] < 0.8)).all()
    away = np.linalg.norm(got.joints3d_m[rows] - truth.joints3d_m[short], axis=-1)
    assert away.mean() < 0.04
    np.testing.assert_allclose(bones_m(got.joints3d_m), bones_m(truth.joints3d_m)[: len(got.score)],
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(  # the ankle's 2D joint shows the ankle
        got.joints2d_px[rows, 10], CAMERA.project(got.joints3d_m[rows, 10]), atol=0.01
    )
    assert "10 rows" in got.notes[-1]
    assert not np.ptp(got.stature_sd_m)  # as sure of filled rows as of others
    again = smooth_take(take, SmoothOptions(max_gap_s=0.1))
    assert not again.filled.any()


def test_rows_in_which_nothing_was_seen_are_filled_or_dropped():
    take = walking()
    score = take.joints2d_score.copy()
    score[10:14] = score[36:] = 0  # coasting in the middle, and at the end
    root = take.root_m.copy()
    root[10:14] = root[9]
    got = smooth_take(changed(take, joints2d_score=score, root_m=root))
    assert got.person_frame.tolist() == list(range(36))
    assert np.flatnonzero(got.filled).tolist() == [10, 11, 12, 13]
    np.testing.assert_allclose(got.root_m[10:14], take.root_m[10:14], atol=0.01)


@pytest.mark.parametrize("frames", [[20], [20, 21, 22]])
def test_outliers_have_little_influence(frames):
    time_s = np.arange(60) / 30
    truth = noisy(walking(time_s), rad=0.01, root_m=0.003)
    root, quats = truth.root_m.copy(), truth.rotations_quat_wxyz.copy()
    root[frames] += (0.3, 0.2, 1.0)
    turned = quat_from_matrix(
        matrix_from_quat(quats[frames, ROOT]) @ matrix_from_rotvec(np.array([0, 3.0, 0]))
    )
    quats[frames, ROOT] = turned
    quats[frames, J3D["left_hip"]] = quat_from_rotvec(np.array([-1.5, 0, 0]))
    got = smooth_take(changed(truth, root_m=root, rotations_quat_wxyz=quats))
    want = smooth_take(truth)
    off = np.linalg.norm(got.joints3d_m - want.joints3d_m, axis=-1)
    assert off.max() < 0.06
    assert off.mean() < 0.01


def test_joints_of_low_score_weigh_little():
    truth = walking()
    quats, score = truth.rotations_quat_wxyz.copy(), truth.joints3d_score.copy()
    rng, hip = np.random.default_rng(1), J3D["left_hip"]
    which = rng.random(40) < 0.4
    wrong = matrix_from_quat(quats[which, hip]) @ matrix_from_rotvec(
        0.15 * rng.normal(size=(which.sum(), 3))
    )
    quats[which, hip] = quat_from_matrix(wrong)
    said = score.copy()
    said[which, J3D["left_knee"]] = 0
    blind = SmoothOptions(robust=1e3)  # to errors: the score alone tells
    errors = [
        turned_by(
            smooth_take(changed(truth, rotations_quat_wxyz=quats, joints3d_score=s), blind)
            .rotations_quat_wxyz[:, hip], truth.rotations_quat_wxyz[:, hip],
        ).mean()
        for s in (score, said)
    ]  # fmt: skip
    assert errors[1] < 0.5 * errors[0]


def test_identities_do_not_influence_each_other():
    frames = np.arange(40)
    one, two = (noisy(walking(), seed) for seed in (1, 2))
    rows = [np.zeros(40, PERSON_ROW), np.zeros(40, PERSON_ROW)]
    for row, take, track_id in zip(rows, (one, two), (5, 3), strict=True):
        for name in PERSON_ROW.names:
            row[name] = getattr(take, name)
        row["track_id"] = track_id
    both = smooth_take(recording(TIMES_S, [(frames, rows[0]), (frames[8:30], rows[1][8:30])]))
    alone = smooth_take(recording(TIMES_S, [(frames, rows[0])]))
    np.testing.assert_array_equal(both.joints3d_m[both.track_id == 5], alone.joints3d_m)
    assert both.person_frame[both.track_id == 3].tolist() == list(range(8, 30))
    assert (np.diff(both.person_frame) >= 0).all()


@pytest.mark.parametrize(("count", "m"), [(1, 1e-6), (2, 1e-6), (3, 1e-2)])
def test_takes_of_few_frames(count, m):
    take = walking(TIMES_S[:count])
    assert_same_motion(smooth_take(take), take, m=m, rad=0.05)


def test_takes_without_frames_or_people_stay_empty():
    for count in (0, 3):
        got = smooth_take(recording(TIMES_S[:count], []))
        assert (len(got.time_s), len(got.track_id)) == (count, 0)


def test_nothing_in_is_nan_nothing_out_is_nan_and_bad_rows_are_replaced(tmp_path):
    take = noisy(walking())
    root, quats = take.root_m.copy(), take.rotations_quat_wxyz.copy()
    root[7], quats[8], quats[9] = np.nan, np.nan, 0
    got = smooth_take(changed(take, root_m=root, rotations_quat_wxyz=quats))
    assert np.flatnonzero(got.filled).tolist() == [7, 8, 9]
    for name in PERSON_ROW.names:
        assert np.isfinite(getattr(got, name)).all(), name
    path = save_recording(tmp_path / "smooth", got.results, notes=got.notes)
    np.testing.assert_array_equal(load_recording(path).filled, got.filled)


def test_single_pictures_are_left_alone():
    take = noisy(walking(track_id=0))
    got = smooth_take(take)
    np.testing.assert_array_equal(got.joints3d_m, take.joints3d_m)


def test_bad_takes_are_one_sentence():
    take = walking()
    with pytest.raises(BadInput, match="times must increase"):
        smooth_take(replace(take, time_s=np.minimum(TIMES_S, 0.5)))
    frames = take.person_frame.copy()
    frames[5] = 4
    with pytest.raises(BadInput, match="person 1 is in frame 4"):
        smooth_take(replace(take, person_frame=frames))
    other = replace(take.skeleton, names=("hip", *take.skeleton.names[1:]))
    with pytest.raises(BadInput, match="another skeleton"):
        smooth_take(replace(take, skeleton=other))
    shrugging = replace(take.skeleton, offsets_m=take.skeleton.offsets_m + 0.035)
    with pytest.raises(BadInput, match="differs from this xnect's by 35 mm"):
        smooth_take(replace(take, skeleton=shrugging))
    for wrong in ({"root_hz": 0.0}, {"turn_hz": np.nan}, {"order": 4}, {"max_gap_s": -1.0}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            SmoothOptions(**wrong)


def test_times_that_are_hardly_apart_are_smoothed_or_refused_in_one_sentence():
    take = walking()
    for apart_s in 10.0 ** np.arange(-10, -1):
        time_s = np.arange(len(take.time_s)) // 2 / 15 + np.arange(len(take.time_s)) % 2 * apart_s
        close = replace(take, time_s=time_s)
        if apart_s < 0.9e-6:
            with pytest.raises(BadInput, match="at least 1e-06 s apart"):
                smooth_take(close)
        else:
            assert np.isfinite(smooth_take(close).root_m).all()


def test_one_identity_has_one_deviation_of_stature_over_long_gaps_too():
    time_s = np.arange(60) / 30
    take = without(walking(time_s), np.arange(20, 40))
    got = smooth_take(changed(take, stature_sd_m=np.r_[np.full(20, 0.2), np.full(20, 0.05)]))
    assert got.person_frame.tolist() == [*range(20), *range(40, 60)]
    assert not np.ptp(got.stature_sd_m) and not np.ptp(bones_m(got.joints3d_m), axis=0).max() > 1e-5


@pytest.mark.parametrize("later", [(240, 320), (320, 427), (960, 1280)])
def test_pictures_that_change_their_size_are_smoothed_as_if_they_did_not(later):
    """As if all were of the larger size: that is where joints are seen most exactly."""
    take = noisy(walking())
    own, hw = (take.image_hw[0], np.array(later))
    larger = np.maximum(own, hw)
    each = np.where(np.arange(40)[:, None] < 20, own, hw)
    want = sized(smooth_take(sized(take, np.repeat(larger[None], 40, 0))), each)
    got = smooth_take(sized(take, each))
    np.testing.assert_allclose(got.joints2d_px, want.joints2d_px, atol=5e-3)
    off = np.linalg.norm(got.joints2d_px - sized(take, each).joints2d_px, axis=-1)
    assert off.max() < 60


def test_in_pictures_of_another_shape_paths_of_pixels_begin_anew():
    take = noisy(walking())
    shown = sized(take, np.where(np.arange(40)[:, None] < 20, take.image_hw, (640, 480)))
    got = smooth_take(shown)
    for rows, others in ((slice(20), slice(20, None)), (slice(20, None), slice(20))):
        alone = smooth_take(without(shown, others))
        np.testing.assert_allclose(got.joints2d_px[rows], alone.joints2d_px, atol=1e-3)
