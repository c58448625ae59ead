"""Who is who over time: matching the poses of a frame with the people known so far.

1. Everybody seen not long ago is predicted, and the poses are assigned as a whole
   (`track_match`): first to those who have an identity, what they leave to newcomers without one.
   A pose whose joints are those of surer ones is nobody.
2. What is left is a newcomer, except for a pose that lies on a matched person's joints.
3. A newcomer of `least_joints` is given out when seen in `confirm_frames` frames (longer when its
   joints are doubtful: `trial_s`), or at once when sure enough, nobody overlaps and nobody vanished
   just now: as somebody who was lost when that is `again_at_least` probable,
   against everybody else who was lost and against a new person (`track_return`).  While that is in
   doubt a newcomer waits up to `doubt_s`, and then is a new person: a doubtful one never takes over
   somebody's identity.
4. People who overlap may be taken for each other; it is put right when they have come apart
   (`track_meet`).
5. Foliage, statues' shadows and the like are found with joints that are all doubtful: nobody is
   given out before the mean score of the surest joints is `shown_at_least`, and who falls below
   `hidden_below` in the mean of `hidden_s` is not given out until it rises again.

Somebody who is missed is given out for `coast_s` more, with the last pose.

Where the pictures change their size everything goes on at the new scale.  Where they change their
shape nothing is known of places any more, and people come back by their looks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from xnect.appearance import BINS, torso_histogram
from xnect.errors import BadInput
from xnect.resizing import scale_between
from xnect.skeleton import BODY, JOINTS3D
from xnect.track_extent import covered, distances, made_of, overlaps, px_per_m
from xnect.track_match import assigned, costs, in_turn
from xnect.track_meet import note_meetings, put_right
from xnect.track_memory import (
    Memory,
    Track,
    as_track,
    become,
    given_before,
    lose_place,
    newborn,
    rescale,
    update,
)
from xnect.track_options import TrackOptions
from xnect.track_return import shares, unlikely_again
from xnect.types import Person, Pose3D

__all__ = ["Track", "TrackOptions", "Tracker"]


class Tracker:
    """Identities of the people in one video.  Call `match` with frames in order of time.

    `remember` takes back what the fit made of the tracks; without it every fit starts anew.
    For another video make another `Tracker`.
    """

    def __init__(self, options: TrackOptions = TrackOptions()) -> None:
        self.options = options
        self._people: list[Memory] = []
        self._time_s = -np.inf
        self._hw: tuple[int, int] | None = None  # of the last picture
        self._steps_s: deque[float] = deque(maxlen=5)  # between the last frames
        self._given = 0  # highest identity given out

    def match(
        self, poses: Sequence[Pose3D], image_rgb: np.ndarray | None, time_s: float
    ) -> list[Track]:
        """The identities in this frame, seen or missed only just now, in order of their numbers.

        Args:
            poses: everybody in the frame, in any order; one without any seen joint is nobody.
            image_rgb: (H, W, 3) uint8, for looks, in whose pixels the poses are; None goes without.
            time_s: of the frame.

        Raises:
            BadInput: time that does not increase.
        """
        if not time_s > self._time_s:
            raise BadInput(
                f"time must increase from frame to frame: got {time_s} s after {self._time_s} s; "
                "for another video make another Tracker"
            )
        options, first = self.options, not np.isfinite(self._time_s)
        poses = [p for p in map(_finite, poses) if (p.partial.score > 0).any()]
        poses = _of_their_own(poses, options)
        before_s, step_s = self._time_s, time_s - self._time_s
        usual_s = float(np.median(self._steps_s)) if self._steps_s else np.inf
        slow = step_s <= 2 * usual_s + _ROUNDING_S  # so frames come, or one was missed: no pause
        self._time_s = time_s
        if not first:
            self._steps_s.append(step_s)
        self._people = [m for m in self._people if time_s - m.time_s <= options.remember_s]
        if image_rgb is not None:
            self._in_picture((image_rgb.shape[0], image_rgb.shape[1]))
        partials = [pose.partial for pose in poses]
        sizes = np.array([px_per_m(pose) for pose in poses])
        alone = np.asarray(~overlaps(partials, options.overlap).any(1))
        looks = np.zeros((len(poses), BINS, BINS))
        if image_rgb is not None:
            for k, pose in enumerate(poses):
                looks[k] = torso_histogram(image_rgb, pose.partial)
            looks[covered(partials, sizes)] = 0
        px = 1.0 if image_rgb is None else _unit_px(image_rgb.shape[:2])

        recent = [
            m
            for m in self._people
            if m.placed and (time_s - m.time_s <= options.miss_s or (slow and m.time_s == before_s))
        ]
        left = set(range(len(poses)))
        cost = costs(recent, poses, looks, sizes, time_s, options)
        waits = [not m.track_id for m in recent]
        for row, k in in_turn(cost, waits, options.most_cost):
            update(recent[row], poses[k], looks[k], sizes[k], bool(alone[k]), time_s, px, options)
            left.remove(k)
        for k in sorted(left, key=lambda k: -partials[k].person_score):
            known = [m.seen for m in self._people if m.time_s == time_s]
            if not (distances(known, [partials[k]]) < options.same_2d).any():
                born = newborn(poses[k], looks[k], sizes[k], time_s, px, options)
                born.beside_s = -np.inf if alone[k] else time_s
                self._people.append(born)
        self._people = [
            m
            for m in self._people
            if m.track_id
            or time_s - m.time_s <= options.coast_s + _ROUNDING_S
            or m.time_s == time_s
        ]
        note_meetings(self._people, time_s, options)
        put_right(self._people, time_s, options)
        self._give_out(first)
        return [
            as_track(m, time_s)
            for m in sorted(self._people, key=lambda m: m.track_id)
            if m.track_id and m.shown and self._lately(m)
        ]

    def remember(self, people: Sequence[Person]) -> None:
        """Keep what was fitted to the last frame's tracks, for the next fit to begin from."""
        by_id = {m.track_id: m for m in self._people if m.track_id}
        for person in people:
            memory = by_id.get(person.track_id)
            if memory is None or memory.time_s != self._time_s:
                continue  # somebody who was missed: what was fitted last is known already
            passed_s = self._time_s - memory.previous_time_s
            if memory.previous is None or passed_s > self.options.miss_s:
                memory.root_velocity_m_s = np.zeros(3)
            elif passed_s > 0:
                speed = (person.root_m - memory.previous.root_m) / passed_s
                gain = 1 - np.exp(-passed_s / 0.3)
                memory.root_velocity_m_s = memory.root_velocity_m_s + gain * (
                    speed - memory.root_velocity_m_s
                )
            memory.older = given_before(memory, self._time_s)
            memory.previous, memory.previous_time_s = person, self._time_s

    def known(self) -> set[int]:
        """Identities that are remembered; none of the others is ever given out again."""
        return {m.track_id for m in self._people if m.track_id}

    def set_lengths(
        self, track_id: int, lengths_m: np.ndarray, *, stature_sd_m: float | None = None
    ) -> None:
        """Give an identity its own bones: (21,) m of a body of 1.70 m, from `fit.measured_lengths`.

        With `stature_sd_m` also how sure their size is; without it that stays as it was.

        Raises:
            BadInput: an identity that is not remembered, or lengths that are not (21,) positive.
        """
        lengths = np.asarray(lengths_m, np.float64)
        bones = np.arange(len(JOINTS3D)) != BODY.root
        if lengths.shape != (len(JOINTS3D),):
            raise BadInput(f"bone lengths must be (21,) and positive, got shape {lengths.shape}")
        bad = ~(np.isfinite(lengths) & (lengths > 0))[bones]
        if bad.any():
            raise BadInput(
                f"bone lengths must be positive numbers of m, got {lengths[bones][bad][0]}"
            )
        for memory in self._people:
            if memory.track_id == track_id:
                memory.lengths_m = lengths
                if stature_sd_m is not None:
                    memory.stature_sd_m = stature_sd_m
                return
        raise BadInput(f"no identity {track_id} is remembered; there are {sorted(self.known())}")

    def _in_picture(self, hw: tuple[int, int]) -> None:
        """Bring what is remembered into a picture of this size."""
        before_hw, self._hw = self._hw, hw
        if before_hw is None or before_hw == hw:
            return
        scale = scale_between(before_hw, hw)
        if scale is None:
            self._people = [m for m in self._people if m.track_id]
        for memory in self._people:
            if scale is None:
                lose_place(memory)
            else:
                rescale(memory, scale, _unit_px(hw), _unit_px(before_hw))

    def _lately(self, memory: Memory) -> bool:
        """Whether somebody was seen so lately that the last pose is still given out."""
        passed_s = self._time_s - memory.time_s
        return memory.placed and passed_s <= self.options.coast_s + _ROUNDING_S

    def _give_out(self, first: bool) -> None:
        """Identities for the newcomers who are sure enough: of somebody lost, or new ones."""
        options, now_s = self.options, self._time_s
        enough = options.first_score if first else options.sure_score
        # Whoever appears while another vanishes may be the other, found elsewhere for a moment.
        complete = not any(
            m.track_id and m.time_s < now_s and self._lately(m) for m in self._people
        )
        new = [
            m
            for m in self._people
            if not m.track_id
            and m.time_s == now_s
            and (m.seen.score > 0).sum() >= options.least_joints
            and m.quality >= options.shown_at_least
            and (
                m.frames >= options.confirm_frames
                or (m.seen.person_score >= enough and (first or (m.beside_s < now_s and complete)))
            )
        ]
        lost = [m for m in self._people if m.track_id and m.time_s < now_s]
        unlikely = unlikely_again(lost, new, now_s, options)
        share = shares(unlikely, options.newcomer)
        for row, column in assigned(unlikely, options.newcomer + 3):
            if share[row, column] >= options.again_at_least:
                become(new[column], lost[row])
                self._people.remove(lost[row])
        doubtful = np.any(share > (1 - options.again_at_least) / 2, axis=0)
        for k in sorted(range(len(new)), key=lambda k: -new[k].seen.person_score):
            known_s = now_s - new[k].born_s
            waits = known_s < self._trial_s(new[k], first) or (
                doubtful[k] and known_s < options.doubt_s
            )
            if not new[k].track_id and not waits:
                self._given += 1
                new[k].track_id = self._given

    def _trial_s(self, newcomer: Memory, first: bool) -> float:
        """For how long somebody of so doubtful joints must be seen before a new number is given.

        Parts of two people, folded clothes and shadows are found as somebody for some frames, with
        joints that are as doubtful as those of a person who is far away, and who stays.
        """
        options = self.options
        sure = options.trial_below[int(newcomer.beside_s == newcomer.time_s)]
        span = max(sure - options.shown_at_least, 1e-9)
        doubt = np.clip((sure - newcomer.quality) / span, 0, 1)
        return 0.0 if first else options.trial_s * float(doubt)


_ROUNDING_S = 1e-6  # of times: at five frames per second one step is `coast_s`


def _unit_px(hw: tuple[int, ...]) -> float:
    """Pixels of the unit in which `TrackOptions.filter_px` is told."""
    return max(hw) / 512


def _of_their_own(poses: list[Pose3D], options: TrackOptions) -> list[Pose3D]:
    """The poses without those that are made of surer ones.

    Where people overlap the networks see one of them twice, or the face of one on the body of the
    other besides: taken for somebody who is hidden it would draw that one's number over.
    """
    kept: list[int] = []
    for k in sorted(range(len(poses)), key=lambda k: -poses[k].partial.person_score):
        others = [poses[i].partial for i in kept]
        if made_of(poses[k].partial, others, options.same_2d) < options.made_of:
            kept.append(k)
    return [poses[k] for k in sorted(kept)]


def _finite(pose: Pose3D) -> Pose3D:
    """The pose; joints that are no numbers become absent ones at 0."""
    partial, good_m = pose.partial.finite(), np.isfinite(pose.joints_m).all(-1)
    if partial is pose.partial and good_m.all():
        return pose
    joints_m = np.where(good_m[:, None], pose.joints_m, 0.0)
    return Pose3D(partial, joints_m, np.where(good_m, pose.score, 0.0))
