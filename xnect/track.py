"""Who is who over time: matching the poses of a frame with the people known so far.

1. Everybody seen not long ago is predicted: on with the last speed, which fades out.  Cost of a
   pair: 2D distance over the joints seen in both, difference of the root-relative 3D poses,
   unlikeness of the upper bodies (XNect's three measures; the formula is spec 4.3), and change of
   the apparent size, which tells who is in front.  The cheapest assignment as a whole is taken
   (Hungarian), in which leaving somebody without a pose has a price too: a poor pair is never made
   for the sake of a pair.
2. What is left is a newcomer, except for a pose that lies on a matched person's joints.
3. A newcomer of `least_joints` is given out when seen in `confirm_frames` frames, or at once when
   sure enough and nobody overlaps: as somebody who was lost when that is `again_at_least` probable
   by looks, size and place, against everybody else who was lost and against a new person.  While
   that is in doubt a newcomer waits up to `doubt_s`, and then is a new person: a doubtful one never
   takes over somebody's identity.
4. People who overlap may be taken for each other.  From when they meet until both have been apart
   for `settle_s`, what each body looks like lately, and how large it is, is compared with what is
   remembered from before: if the two identities suit the other body clearly better, they go there
   (never for people in the same clothes, of whom looks say nothing).
   Frames that were given out stay as they are.
5. Foliage, statues' shadows and the like are found with joints that are all doubtful: nobody is
   given out before the mean score of the joints is `shown_at_least`, and who falls below
   `hidden_below` in the mean of `hidden_s` is not given out until it rises again.

Somebody who is missed is given out for `coast_s` more, with the last pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from xnect.appearance import (
    BINS,
    learned,
    torso_histogram,
    unlikeness,
    unlikeness_of_people,
)
from xnect.errors import BadInput
from xnect.one_euro import OneEuro
from xnect.skeleton import BODY, J2D, JOINTS3D, SEEN_AS
from xnect.types import PartialPose, Person, Pose3D


@dataclass(frozen=True)
class TrackOptions:
    """How poses are matched, how long people are remembered, how inputs are filtered."""

    weight_2d: float = 0.4  # where the joints are: most telling from frame to frame
    weight_3d: float = 0.2  # tells people apart who walk in different directions
    weight_looks: float = 0.4  # tells them apart after they hid each other
    weight_size: float = 0.25  # apparent size: tells who is nearer
    most_cost: float = 0.8  # of a pair; also the price of leaving one without a pose
    gate_2d: float = 1.0  # mean distance of joints, in torsos; grows while a person is missed
    far_3d_m: float = 0.3  # mean distance of root-relative joints that counts as 1
    far_size: float = 0.35  # change of the logarithm of the size that counts as 1
    predict_s: float = 1.0  # after which a missed person's speed has faded out
    speed_s: float = 0.15  # over which speed is measured; thrice that beside somebody else
    doubt: float = 0.2  # price of having been missed, at most: who was just seen goes first
    most_speed_m_s: float = 3.0  # across the picture; a merged pose must not throw anybody away
    same_2d: float = 0.25  # torsos: a new pose this near to a matched one is its ghost
    confirm_frames: int = 3
    least_joints: int = 4  # seen of a newcomer: fewer are a limb of somebody
    sure_score: float = 0.6  # person_score of a newcomer, apart from others, given out at once
    first_score: float = 0.35  # the same in the first frame, where nobody can be confirmed yet
    coast_s: float = 0.2  # given out although missed
    miss_s: float = 1.0  # matched by place
    remember_s: float = 10.0  # matched by looks, place and size
    again_at_least: float = 0.5  # probability with which a newcomer is somebody lost
    again_looks: float = 0.25  # standard deviation of the unlikeness of the same person
    again_size: tuple[float, float] = (0.08, 0.02)  # of the logarithm; of its change per second
    newcomer: float = 3.5  # -log likelihood of a new person, against a perfect return
    doubt_s: float = 0.3  # a newcomer waits so long when it may be somebody lost
    views: int = 4  # of an upper body that are remembered
    looks_rate: float = 0.05  # of the histogram, per frame in which looks are learned
    settle_s: float = 0.3  # nobody has overlapped for so long: looks are learned
    lately_s: float = 0.1  # over which it is taken what a body looks like lately
    lately_frames: int = 3  # at least, before identities are compared
    swap_one: float = (
        0.45  # unlikeness that an exchange must take away, of one whose looks are seen
    )
    swap_both: float = 0.7  # and of two, together
    swap_apart: float = 0.5  # unlikeness of two identities, below which looks say nothing there
    swap_size: float = 0.0  # what a change of size by `far_size` counts there
    overlap: float = 0.3  # share of the smaller box
    shown_at_least: float = 0.45  # mean score of the joints of somebody who is given out first
    hidden_below: float = 0.38  # and of somebody who is given out no more
    hidden_s: float = 1.0  # over which that is taken
    filter_px: tuple[float, float] = (1.7, 0.3)  # cutoff Hz; beta per px/s of a 512 px wide picture
    filter_m: tuple[float, float] = (1.5, 4.0)  # cutoff Hz; beta per m/s


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One identity in one frame, and what is known of its past."""

    track_id: int
    pose: Pose3D  # filtered; the last one when missed
    missed_s: float = 0.0  # since the identity was last seen; 0 = seen in this frame
    frames: int = 1  # in which it was seen so far
    lengths_m: np.ndarray = field(default_factory=lambda: BODY.lengths_m)  # (21,) of a 1.70 m body
    previous: Person | None = None  # what was given out last
    previous_time_s: float = 0.0
    root_velocity_m_s: np.ndarray = field(default_factory=lambda: np.zeros(3))
    before: Person | None = None  # what was given out before `previous`
    before_time_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Memory:
    """The tracker's own notes on one identity."""

    seen: PartialPose  # as seen, not filtered
    pose: Pose3D
    looks: np.ndarray  # (G, 30, 30) views of the torso
    size_px: float  # per metre of the reference body; 0 unknown
    born_s: float
    time_s: float
    filter_px: OneEuro
    filter_m: OneEuro
    velocity_px_s: np.ndarray
    quality: float  # mean score of the joints, of late
    own_px: float = 0.0  # `size_px` when nobody had overlapped for a while
    beside_s: float = -np.inf  # when somebody last overlapped
    met: set[int] = field(default_factory=set)  # identities that overlapped, not told apart yet
    lately: np.ndarray = field(default_factory=lambda: np.zeros((BINS, BINS)))  # looks since then
    lately_px: float = 0.0  # size since then
    lately_frames: int = 0  # in which looks were seen since then
    lately_time_s: float = -np.inf  # when they were seen last
    shown: bool = True  # good enough to be given out
    track_id: int = 0  # 0 until the person is given out
    frames: int = 1
    lengths_m: np.ndarray = field(default_factory=lambda: BODY.lengths_m)
    previous: Person | None = None
    previous_time_s: float = 0.0
    root_velocity_m_s: np.ndarray = field(default_factory=lambda: np.zeros(3))
    before: Person | None = None  # what was given out before `previous`
    before_time_s: float = 0.0


class Tracker:
    """Identities of the people in one video.  Call `match` with frames in order of time.

    `remember` takes back what the fit made of the tracks; without it every fit starts anew.
    For another video make another `Tracker`.
    """

    def __init__(self, options: TrackOptions = TrackOptions()) -> None:
        self.options = options
        self._people: list[_Memory] = []
        self._time_s = -np.inf
        self._given = 0  # highest identity given out

    def match(
        self, poses: Sequence[Pose3D], image_rgb: np.ndarray | None, time_s: float
    ) -> list[Track]:
        """The identities in this frame, seen or missed only just now, in order of their numbers.

        Args:
            poses: everybody in the frame, in any order; one without any seen joint is nobody.
            image_rgb: (H, W, 3) uint8, for looks; None goes without.
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
        self._time_s = time_s
        self._people = [m for m in self._people if time_s - m.time_s <= options.remember_s]
        partials = [pose.partial for pose in poses]
        sizes = np.array([_size_px(pose) for pose in poses])
        alone = np.asarray(~_overlaps(partials, options.overlap).any(1))
        looks = np.zeros((len(poses), BINS, BINS))
        if image_rgb is not None:
            for k, pose in enumerate(poses):
                looks[k] = torso_histogram(image_rgb, pose.partial)
            looks[_covered(partials, sizes)] = 0
        px = 1.0 if image_rgb is None else max(image_rgb.shape[:2]) / 512

        recent = [m for m in self._people if time_s - m.time_s <= options.miss_s]
        left = set(range(len(poses)))
        for row, k in _assigned(self._cost(recent, poses, looks, sizes), options.most_cost):
            _update(recent[row], poses[k], looks[k], sizes[k], bool(alone[k]), time_s, px, options)
            left.remove(k)
        for k in sorted(left, key=lambda k: -partials[k].person_score):
            known = [m.seen for m in self._people if m.time_s == time_s]
            if not (_apart(known, [partials[k]]) < options.same_2d).any():
                born = _born(poses[k], looks[k], sizes[k], time_s, px, options)
                born.beside_s = -np.inf if alone[k] else time_s
                self._people.append(born)
        self._people = [
            m
            for m in self._people
            if m.track_id or time_s - m.time_s <= options.coast_s or m.time_s == time_s
        ]
        self._note_meetings()
        self._put_right()
        self._give_out(first)
        return [
            self._track(m)
            for m in sorted(self._people, key=lambda m: m.track_id)
            if m.track_id and m.shown and time_s - m.time_s <= options.coast_s
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
            memory.before, memory.before_time_s = memory.previous, memory.previous_time_s
            memory.previous, memory.previous_time_s = person, self._time_s

    def set_lengths(self, track_id: int, lengths_m: np.ndarray) -> None:
        """Give an identity its own bones: (21,) m of a body of 1.70 m, from `fit.measured_lengths`.

        Raises:
            BadInput: an identity that is not remembered, or lengths that are not (21,) positive.
        """
        lengths = np.asarray(lengths_m, np.float64)
        bones = np.arange(len(JOINTS3D)) != BODY.root
        if lengths.shape != (len(JOINTS3D),) or not (lengths[bones] > 0).all():
            raise BadInput(f"bone lengths must be (21,) and positive, got shape {lengths.shape}")
        for memory in self._people:
            if memory.track_id == track_id:
                memory.lengths_m = lengths
                return
        known = sorted(m.track_id for m in self._people if m.track_id)
        raise BadInput(f"no identity {track_id} is remembered; there are {known}")

    def _note_meetings(self) -> None:
        """Who overlaps whom now, and who has been apart from all long enough."""
        options, now_s = self.options, self._time_s
        near = [m for m in self._people if m.track_id and now_s - m.time_s <= options.miss_s]
        way_px = self._way_px(near)
        there = [
            replace(m.seen, joints_px=m.seen.joints_px + way) if m.time_s < now_s else m.seen
            for m, way in zip(near, way_px, strict=True)
        ]
        for i, k in np.argwhere(_overlaps(there, options.overlap)):
            if now_s in (near[i].time_s, near[k].time_s):
                if not near[i].met:
                    near[i].lately, near[i].lately_px = np.zeros((BINS, BINS)), 0.0
                    near[i].lately_frames, near[i].lately_time_s = 0, -np.inf
                near[i].met.add(near[k].track_id)
        apart = {
            m.track_id: m.time_s == now_s and now_s - m.beside_s >= options.settle_s
            for m in self._people
            if m.track_id
        }
        for m in self._people:
            if apart.get(m.track_id):
                m.met = {other for other in m.met if not apart.get(other, True)}
                m.own_px = m.size_px

    def _put_right(self) -> None:
        """Give people who met each other's identities where these suit them clearly better."""
        while True:
            by_id = {m.track_id: m for m in self._people if m.track_id}
            pairs = {
                (min(m.track_id, other), max(m.track_id, other))
                for m in by_id.values()
                for other in m.met
                if other in by_id
            }
            gains = {(a, b): self._gain(by_id[a], by_id[b]) for a, b in sorted(pairs)}
            best = max(gains, key=lambda pair: gains[pair], default=None)
            if best is None or gains[best] <= 0:
                return
            _exchange(by_id[best[0]], by_id[best[1]])

    def _gain(self, one: _Memory, other: _Memory) -> float:
        """How much liker two bodies would be to their identities if these were exchanged.

        Beyond what is asked for; negative when they should stay.
        """
        options, gain, known = self.options, 0.0, 0
        if not len(one.looks) or not len(other.looks):
            return -np.inf
        if unlikeness(one.looks, other.looks).min() < options.swap_apart:
            return -np.inf
        for body, label in ((one, other), (other, one)):
            if body.time_s < self._time_s or body.lately_frames < options.lately_frames:
                continue
            known += 1
            looks = body.lately[None]
            gain += float(
                unlikeness(body.looks, looks).min() - unlikeness(label.looks, looks).min()
            )
            if body.lately_px > 0 and body.own_px > 0 and label.own_px > 0:
                off = np.abs(np.log(body.lately_px / np.array([body.own_px, label.own_px])))
                off = np.minimum(off / options.far_size, 1)
                gain += options.swap_size * float(off[0] - off[1])
        return gain - (options.swap_both if known == 2 else options.swap_one)

    def _give_out(self, first: bool) -> None:
        """Identities for the newcomers who are sure enough: of somebody lost, or new ones."""
        options, now_s = self.options, self._time_s
        enough = options.first_score if first else options.sure_score
        new = [
            m
            for m in self._people
            if not m.track_id
            and m.time_s == now_s
            and (m.seen.score > 0).sum() >= options.least_joints
            and m.quality >= options.shown_at_least
            and (
                m.frames >= options.confirm_frames
                or (m.seen.person_score >= enough and (first or m.beside_s < now_s))
            )
        ]
        lost = [m for m in self._people if m.track_id and m.time_s < now_s]
        unlikely = self._unlikely_again(lost, new)
        share = _shares(unlikely, options.newcomer)
        for row, column in _assigned(unlikely, options.newcomer + 3):
            if share[row, column] >= options.again_at_least:
                _become(new[column], lost[row])
                self._people.remove(lost[row])
        doubtful = np.any(share > (1 - options.again_at_least) / 2, axis=0)
        for k in sorted(range(len(new)), key=lambda k: -new[k].seen.person_score):
            waits = doubtful[k] and now_s - new[k].born_s < options.doubt_s
            if not new[k].track_id and not waits:
                self._given += 1
                new[k].track_id = self._given

    def _track(self, memory: _Memory) -> Track:
        return Track(
            memory.track_id, memory.pose, self._time_s - memory.time_s, memory.frames,
            memory.lengths_m, memory.previous, memory.previous_time_s,
            memory.root_velocity_m_s.copy(), memory.before, memory.before_time_s,
        )  # fmt: skip

    def _cost(
        self, people: list[_Memory], poses: list[Pose3D], looks: np.ndarray, sizes: np.ndarray
    ) -> np.ndarray:
        """(M, K) cost of each pair; infinite where it cannot be the same person."""
        options = self.options
        if not people or not poses:
            return np.zeros((len(people), len(poses)))
        missed_s = self._time_s - np.array([m.time_s for m in people])
        grown = (1 + 2 * missed_s)[:, None]
        gate = options.gate_2d * grown
        apart = _apart([m.seen for m in people], [p.partial for p in poses], self._way_px(people))
        old = [m.pose for m in people]
        was_m, now_m = np.stack([p.joints_m for p in old]), np.stack([p.joints_m for p in poses])
        known = (np.stack([p.score for p in old]) > 0)[:, None] & (
            np.stack([p.score for p in poses]) > 0
        )
        off_m = (np.linalg.norm(now_m - was_m[:, None], axis=-1) * known).sum(-1)
        off_m = off_m / np.maximum(known.sum(-1), 1)
        cost = (
            options.weight_2d * apart / gate
            + options.weight_3d * np.minimum(off_m / options.far_3d_m, 1)
            + options.weight_looks * unlikeness_of_people([m.looks for m in people], looks)
            + options.weight_size
            * np.minimum(_resized([m.size_px for m in people], sizes) / options.far_size, 1)
            + options.doubt * (1 - 1 / grown)
        )
        return np.where(apart > gate, np.inf, cost)

    def _way_px(self, people: list[_Memory]) -> np.ndarray:
        """(M, 2) how far people have gone since they were seen, at a speed that fades out."""
        fade_s = self.options.predict_s
        missed_s = self._time_s - np.array([m.time_s for m in people])
        if fade_s <= 0 or not people:
            return np.zeros((len(people), 2))
        gone_s = fade_s * (1 - np.exp(-missed_s / fade_s))
        return np.stack([m.velocity_px_s for m in people]) * gone_s[:, None]

    def _unlikely_again(self, lost: list[_Memory], new: list[_Memory]) -> np.ndarray:
        """(M, K) -log likelihood of newcomers being somebody lost, by looks, size and place."""
        if not lost or not new:
            return np.zeros((len(lost), len(new)))
        options = self.options
        unlike = _unlike(lost, new)
        missed_s = np.array([[n.born_s - m.time_s for n in new] for m in lost])
        gone_s = np.maximum(missed_s, 0)
        reach = 0.5 + 2 * gone_s  # torsos that a walker may have gone
        apart = _apart([m.seen for m in lost], [m.seen for m in new], self._way_px(lost))
        was_px = [m.own_px or m.size_px for m in lost]
        resized = _resized(was_px, np.array([m.size_px for m in new]))
        sd = np.hypot(options.again_size[0], options.again_size[1] * gone_s)
        cost = 0.5 * (unlike / options.again_looks) ** 2
        cost = cost + np.log1p((resized / sd) ** 2) + 0.5 * (apart / reach) ** 2
        return np.where(missed_s > 0, cost, np.inf)  # nobody is two people at a time


def _shares(unlikely: np.ndarray, newcomer: float) -> np.ndarray:
    """(M, K) -log likelihoods -> probability of each pair, among all others of the two.

    A newcomer is one of those who were lost or somebody new; who was lost is one of the newcomers
    or not here.  The smaller of the two probabilities.
    """
    likely = np.exp(-unlikely)
    none = np.exp(-newcomer)
    share: np.ndarray = likely / (none + np.maximum(likely.sum(0), likely.sum(1, keepdims=True)))
    return share


def _finite(pose: Pose3D) -> Pose3D:
    """The pose; joints that are no numbers become absent ones at 0."""
    partial = pose.partial
    good_px, good_m = np.isfinite(partial.joints_px).all(-1), np.isfinite(pose.joints_m).all(-1)
    if good_px.all() and good_m.all():
        return pose
    partial = replace(
        partial,
        joints_px=np.where(good_px[:, None], partial.joints_px, 0.0),
        score=np.where(good_px, partial.score, 0.0),
    )
    joints_m = np.where(good_m[:, None], pose.joints_m, 0.0)
    return Pose3D(partial, joints_m, np.where(good_m, pose.score, 0.0))


def _assigned(cost: np.ndarray, most: float) -> list[tuple[int, int]]:
    """Pairs (row, column) cheaper than `most` with the smallest sum, where no pair costs `most`."""
    if not (cost < most).any():
        return []
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.minimum(cost, most))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if cost[r, c] < most]


def _update(
    memory: _Memory,
    pose: Pose3D,
    looks: np.ndarray,
    size_px: float,
    alone: bool,
    time_s: float,
    px: float,
    options: TrackOptions,
) -> None:
    """Take the pose of this frame into the memory."""
    passed_s = time_s - memory.time_s
    common = (pose.partial.score > 0) & (memory.seen.score > 0)
    if common.any():
        way = np.median(pose.partial.joints_px[common] - memory.seen.joints_px[common], axis=0)
        gain = 1 - np.exp(-passed_s / (options.speed_s * (1 if alone else 3)))
        speed = memory.velocity_px_s + gain * (way / passed_s - memory.velocity_px_s)
        most = options.most_speed_m_s * (memory.size_px or np.inf)
        memory.velocity_px_s = speed * min(1.0, most / max(float(np.linalg.norm(speed)), 1e-9))
    if size_px > 0 and memory.size_px > 0:
        gain = 1 - np.exp(-passed_s / 0.3)
        memory.size_px *= (size_px / memory.size_px) ** gain
    elif size_px > 0:
        memory.size_px = size_px
    if memory.met:
        if looks.any():
            rate = 1 - np.exp(-(time_s - memory.lately_time_s) / options.lately_s)
            memory.lately = memory.lately + rate * (looks - memory.lately)
            memory.lately_time_s = time_s
            memory.lately_frames += 1
        if size_px > 0:
            rate = 1 - np.exp(-passed_s / options.lately_s)
            memory.lately_px = (memory.lately_px or size_px) ** (1 - rate) * size_px**rate
    memory.seen, memory.time_s = pose.partial, time_s
    memory.frames += 1
    gain = max(1 / memory.frames, 1 - np.exp(-passed_s / options.hidden_s))
    count = (pose.partial.score > 0).sum()
    gain *= min(1.0, count / _ENOUGH)
    memory.quality += gain * (pose.partial.score.sum() / count - memory.quality)
    least = options.hidden_below if memory.shown else options.shown_at_least
    memory.shown = not memory.track_id or memory.quality >= least
    memory.pose = _filtered(memory, pose, time_s, px)
    if not alone:
        memory.beside_s = time_s
    if time_s - memory.beside_s >= options.settle_s or not len(memory.looks):
        memory.looks = learned(memory.looks, looks, rate=options.looks_rate, most=options.views)


def _born(
    pose: Pose3D,
    looks: np.ndarray,
    size_px: float,
    time_s: float,
    px: float,
    options: TrackOptions,
) -> _Memory:
    memory = _Memory(
        pose.partial, pose, looks[None][: int(looks.any())], size_px, time_s, time_s,
        OneEuro(*options.filter_px), OneEuro(*options.filter_m), np.zeros(2),
        _quality(pose.partial), size_px,
    )  # fmt: skip
    memory.pose = _filtered(memory, pose, time_s, px)
    return memory


def _become(new: _Memory, lost: _Memory) -> None:
    """Make a newcomer the one who was lost."""
    new.track_id, new.lengths_m = lost.track_id, lost.lengths_m
    new.frames += lost.frames
    new.looks = lost.looks if len(lost.looks) else new.looks
    new.previous, new.previous_time_s = lost.previous, lost.previous_time_s
    new.before, new.before_time_s = lost.before, lost.before_time_s
    new.root_velocity_m_s = lost.root_velocity_m_s
    new.own_px = lost.own_px or new.own_px
    new.met = lost.met - {lost.track_id}


def _exchange(one: _Memory, other: _Memory) -> None:
    """Give two bodies each other's identities; motion, filters and fits stay with the bodies."""
    for name in ("track_id", "looks", "own_px", "lengths_m"):
        mine, theirs = getattr(one, name), getattr(other, name)
        setattr(one, name, theirs)
        setattr(other, name, mine)
    both = {one.track_id, other.track_id}
    one.met, other.met = ((one.met | other.met | both) - {m.track_id} for m in (one, other))
    for m in (one, other):
        for name in ("previous", "before"):
            person = getattr(m, name)
            if person is not None:
                setattr(m, name, replace(person, track_id=m.track_id))


def _filtered(memory: _Memory, pose: Pose3D, time_s: float, px: float) -> Pose3D:
    """The pose with its 2D and 3D joints filtered."""
    partial = pose.partial
    joints_px = memory.filter_px(partial.joints_px / px, time_s, partial.score) * px
    joints_px = np.where(partial.score[:, None] > 0, joints_px, partial.joints_px)
    joints_m = memory.filter_m(pose.joints_m, time_s, pose.score)
    return replace(pose, partial=replace(partial, joints_px=joints_px), joints_m=joints_m)


def _apart(
    old: Sequence[PartialPose], new: Sequence[PartialPose], shift_px: np.ndarray | float = 0.0
) -> np.ndarray:
    """(M, K) how far poses are apart, in torsos, if the old ones moved on by (M, 2) `shift_px`.

    The mean over the joints seen in both; without a joint in common the distance of the middles of
    what is seen; infinite where nothing is seen.
    """
    if not old or not new:
        return np.zeros((len(old), len(new)))
    shift = np.broadcast_to(shift_px, (len(old), 2))
    was = np.stack([p.joints_px for p in old]) + shift[:, None]  # (M, 18, 2)
    now = np.stack([p.joints_px for p in new])  # (K, 18, 2)
    was_seen = np.stack([p.score for p in old]) > 0
    now_seen = np.stack([p.score for p in new]) > 0
    common = was_seen[:, None] & now_seen  # (M, K, 18)
    count = common.sum(-1)
    off = np.linalg.norm(now - was[:, None], axis=-1)
    mean = np.where(common, off, 0.0).sum(-1) / np.maximum(count, 1)
    middles = [
        np.where(seen[..., None], joints, 0.0).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
        for joints, seen in ((was, was_seen), (now, now_seen))
    ]
    middle = np.linalg.norm(middles[1] - middles[0][:, None], axis=-1)
    size = np.maximum.outer([_torso_px(p) for p in old], [_torso_px(p) for p in new])
    some = was_seen.any(1, keepdims=True) & now_seen.any(1)
    return np.where(some, np.where(count > 0, mean, middle) / size, np.inf)


def _resized(old_px: Sequence[float], now_px: np.ndarray) -> np.ndarray:
    """(M, K) change of the logarithm of the apparent size; 0 where it is not known."""
    old = np.array(old_px)[:, None]
    known = (old > 0) & (now_px > 0)
    return np.abs(np.log(np.where(known, now_px / np.maximum(old, 1e-9), 1.0)))


def _unlike(lost: Sequence[_Memory], new: Sequence[_Memory]) -> np.ndarray:
    """(M, K) unlikeness of the likest views; 0.5 where one was never seen."""
    columns = [
        unlikeness_of_people([m.looks for m in lost], n.looks).min(1)
        if len(n.looks)
        else np.full(len(lost), 0.5)
        for n in new
    ]
    return np.stack(columns, 1)


_TORSO = [J2D[n] for n in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]


def _covered(poses: Sequence[PartialPose], sizes: np.ndarray) -> np.ndarray:
    """(K,) bool: whose torso somebody nearer stands before, so that its colours are not his."""
    out = np.zeros(len(poses), bool)
    low, high = np.full((len(poses), 2), np.inf), np.full((len(poses), 2), -np.inf)
    for k, pose in enumerate(poses):
        if (pose.score[_TORSO] > 0).sum() >= 3:
            corners = pose.joints_px[_TORSO][pose.score[_TORSO] > 0]
            low[k], high[k] = corners.min(0), corners.max(0)
    for k in range(len(poses)):
        side = np.minimum(high, high[k]) - np.maximum(low, low[k])
        shared = np.where((side > 0).all(1), side.prod(1), 0) if len(side) else np.zeros(0)
        own = np.prod(high[k] - low[k]) if np.isfinite(low[k]).all() else 0.0
        out[k] = bool((shared[sizes > sizes[k]] > 0.3 * own).any()) if own else False
    return out


_SEEN, _SHOWN = np.array(
    [(j, k) for j, k in enumerate(SEEN_AS) if k >= 0]
).T  # 2D joints that are joints of the body, and which


def _size_px(pose: Pose3D) -> float:
    """Pixels per metre of the reference body; 0 when too little is seen to tell."""
    seen = pose.partial.score[_SEEN] > 0
    if seen.sum() < 4:
        return 0.0
    px, metres = pose.partial.joints_px[_SEEN[seen]], pose.joints_m[_SHOWN[seen], :2]
    spread_px = np.linalg.norm(px - px.mean(0))
    spread_m = np.linalg.norm(metres - metres.mean(0)) / np.sqrt(seen.sum())
    return float(spread_px / np.sqrt(seen.sum()) / spread_m) if spread_m > 0.1 else 0.0


_NECK, _HIPS = J2D["neck"], [J2D["left_hip"], J2D["right_hip"]]


def _torso_px(pose: PartialPose) -> float:
    """From the neck to the hips; guessed from the box of all joints when they are not seen."""
    seen = pose.score > 0
    if not seen.any():
        return 1.0
    joints = pose.joints_px[seen]
    size = 0.3 * float(np.ptp(joints, axis=0).max())
    hips = [h for h in _HIPS if seen[h]]
    if seen[_NECK] and hips:
        torso = np.linalg.norm(pose.joints_px[hips].mean(0) - pose.joints_px[_NECK])
        size = max(size, float(torso))
    return max(size, 4.0)


def _quality(pose: PartialPose) -> float:
    """Mean score of the joints that are seen; what lacks to `_ENOUGH` counts as 0."""
    return float(pose.score.sum() / max(_ENOUGH, (pose.score > 0).sum()))


_ENOUGH = 8  # joints; fewer say less about whether somebody is there


def _overlaps(poses: Sequence[PartialPose], share: float) -> np.ndarray:
    """(K, K) bool: whose boxes cover each other to more than `share` of the smaller one."""
    low = np.full((len(poses), 2), np.inf)
    high = np.full((len(poses), 2), -np.inf)
    for k, pose in enumerate(poses):
        joints = pose.joints_px[pose.score > 0]
        if len(joints):
            low[k], high[k] = joints.min(0), joints.max(0)
    side = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = np.where((side > 0).all(-1), np.maximum(side, 0).prod(-1), 0.0)
    own = np.where(np.isfinite(low).all(1), np.maximum(high - low, 0).prod(1), 0.0)
    out: np.ndarray = shared > share * np.minimum.outer(own, own)
    np.fill_diagonal(out, val=False)
    return out
