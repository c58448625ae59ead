"""How each identity is built: bone proportions and stature, learned over its first seconds.

*Proportions* come from the lifted poses, left and right together.  The lifter answers to body shape
only in part: it knows a mean body and shrinks towards it.  `LIFTER` says, per bone, how its
logarithm answers to the true one; what has no entry there it does not show, and keeps the length
of the mean body.  Measurement and population are combined by inverse variance.

*Stature* is told by a known floor (`stature`): a body that is larger by a factor is farther by it.
A quantile over frames is combined with the population: adults, and some children.

Both are given to the tracker only in a few steps, and then frozen: between steps bones do not
change.  Neither median nor quantile cares for the order of frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.evidence import body_size
from xnect.skeleton import BODY, J2D, J3D, REFERENCE_STATURE_M
from xnect.stature import ANKLES_2D, Statures, combined, statures_m
from xnect.track import Track, Tracker
from xnect.track_memory import resized
from xnect.types import Person, Pose3D


class Response(NamedTuple):
    """How a measured bone answers to the true one: log measured = bias + gain log true + noise.

    Both logarithms are against the bone of `BODY`, at reference size.
    """

    bias: float
    gain: float
    error: float  # standard deviation of (log measured - bias) / gain that no frame takes away
    spread: float  # of the population, about BODY


LIFTER: Mapping[str, Response] = {
    "knee": Response(-0.011, 0.46, 0.044, 0.07),
    "ankle": Response(-0.011, 0.45, 0.055, 0.07),
    "hip": Response(-0.027, 0.29, 0.112, 0.07),
    "shoulder": Response(-0.062, 0.28, 0.120, 0.07),
    "spine": Response(-0.006, 0.18, 0.088, 0.07),
}
"""Of the bundled lifter, on 96 simulated people (`xnect.synth.takes`).

Its arms, hands, feet and head hardly tell anything (correlation below 0.55), and how short it makes
them depends on the detector's errors.  The population's spread is taken smaller than that of the
simulated bodies, who are more unlike each other than people are.
"""

EXACT: Mapping[str, Response] = {
    name: Response(0.0, 1.0, 0.01, 0.07)
    for name in ("knee", "ankle", "hip", "shoulder", "spine", "elbow", "wrist", "neck", "head")
}
"""Of poses whose bones are the person's own but for noise, as from several cameras."""


@dataclass(frozen=True)
class ProportionOptions:
    """What is learned of each identity, when it is given out, and what is assumed at first."""

    bones: bool = False
    stature: bool = True  # where the floor is known
    steps: tuple[int, ...] = (5, 15, 45, 120)  # good frames after which it is given; then frozen
    response: Mapping[str, Response] = field(default_factory=lambda: LIFTER)
    bones_settled: float = 0.02  # standard deviation of a logarithm below which bones are frozen
    stature_settled_m: float = 0.025
    together: float = 6.0  # frames that err alike count as one
    score_2d: float = 0.3  # from which a joint is well seen
    adults_sd_m: float = 0.07  # about the assumed stature
    children: float = 0.15  # share of the population; none where the stature is given
    children_m: tuple[float, float] = (1.25, 0.20)  # mean and standard deviation
    given: bool = False  # the stature was told by somebody who knows
    given_sd_m: float = 0.01  # then, as long as one person is seen; of several, `adults_sd_m`
    possible_m: tuple[float, float] = (0.5, 2.4)  # a stature beyond is no measurement
    still_m_s: float = 0.35  # an ankle slower than this stands
    still_s: float = 0.1  # over which its speed is measured, or from frame to frame if that is more
    apart_s: float = 1.0  # frames farther apart tell no speed; whoever is seen stands, as in photos
    quantile: float = 0.3  # of the frames: a heel that is up makes people taller, never smaller
    too_tall: float = 1.02  # what the bundled lifter makes of them still; simulated takes
    one_foot: float = 0.08  # if the ankles differ by a larger share, the lower one stands


@dataclass(frozen=True, slots=True, eq=False)
class Build:
    """How one identity is built."""

    lengths_m: np.ndarray  # (21,) bones of a body of 1.70 m, left = right
    stature_m: float
    stature_sd_m: float
    frozen: bool  # it does not change any more


class Builds:
    """The builds of all identities of one video.

    Args:
        options: see `ProportionOptions`.
        height_m: the stature assumed of everybody (`FitOptions.height_m`).
    """

    def __init__(
        self,
        options: ProportionOptions = ProportionOptions(),
        height_m: float = REFERENCE_STATURE_M,
    ) -> None:
        self.options, self.height_m = options, height_m
        self._people: dict[int, _Memory] = {}
        self._several = False  # people are there, or were
        self._times_s: deque[float] = deque(maxlen=3)  # of the last frames

    def __getitem__(self, track_id: int) -> Build:
        """What is in use for an identity; the assumed build for one not seen yet."""
        memory = self._people.get(track_id)
        return memory.build if memory else self._first()

    def update(
        self, tracker: Tracker, tracks: Sequence[Track], people: Sequence[Person], camera: Camera,
        time_s: float,
    ) -> None:  # fmt: skip
        """Learn from a frame, and tell the tracker where a step is due.

        Call it after `tracker.remember(people)`: somebody whose size changes is remembered once
        more, at the depth that goes with it, so that the next fit begins there.
        """
        fitted = {person.track_id: person for person in people}
        known = tracker.known()
        self._people = {k: m for k, m in self._people.items() if k in known}
        changed = self.observe(tracks, camera, time_s)
        before = {track.track_id: track.lengths_m for track in tracks}
        for track in tracks:
            if track.stature_sd_m is None and track.track_id not in changed:
                sd_m = self[track.track_id].stature_sd_m
                tracker.set_lengths(track.track_id, track.lengths_m, stature_sd_m=sd_m)
        for track_id in changed:
            build = self[track_id]
            lengths = build.lengths_m * (build.stature_m / self.height_m)
            tracker.set_lengths(track_id, lengths, stature_sd_m=build.stature_sd_m)
            if track_id not in fitted:
                continue
            size = float(body_size(lengths) / body_size(before[track_id]))
            if abs(size - 1) > 1e-6:
                root_m = self._people[track_id].root_m * build.stature_m / REFERENCE_STATURE_M
                tracker.remember([resized(fitted[track_id], size, root_m)])

    def observe(self, tracks: Sequence[Track], camera: Camera, time_s: float) -> list[int]:
        """Learn from a frame; the identities whose build changed, also of people not seen now."""
        self._times_s.append(time_s)
        seen = [track for track in tracks if track.missed_s == 0]
        changed = self._count(track.track_id for track in seen)
        for track in seen:
            memory = self._people.setdefault(track.track_id, _Memory(self._first()))
            if self._learn(memory, track.pose, camera, time_s):
                changed.add(track.track_id)
        return sorted(changed)

    def _count(self, seen: Iterable[int]) -> set[int]:
        """See whether there are several people; the identities whose build that changes.

        A given stature is that of one person.  Whose it is nobody knows once there are several: who
        came first is measured anew.
        """
        if self._several or len(self._people.keys() | set(seen)) < 2:
            return set()
        self._several = True
        if not self.options.given:
            return set()
        for memory in self._people.values():
            memory.build = replace(self._first(), lengths_m=memory.build.lengths_m)
            memory.stature_frozen = False
        return set(self._people)

    def alone(self, poses: Sequence[Pose3D], camera: Camera) -> list[Track]:
        """Everybody of a single picture, with the build that it tells: track 0, no past.

        Over a known floor the stature is that of somebody who stands, as far as ankles are seen.
        """
        self._several = len(poses) > 1
        tracks = []
        for pose in poses:
            build = self._first()
            if self.options.stature and camera.floor is not None:
                seen = pose.partial.score[ANKLES_2D] >= self.options.score_2d
                found = self._of_ankles(statures_m(pose, camera, camera.floor), seen)
                if found is not None:
                    stature_m, sd_m = self._combined(np.array([found]))
                    build = replace(build, stature_m=stature_m, stature_sd_m=sd_m)
            lengths = build.lengths_m * (build.stature_m / self.height_m)
            tracks.append(Track(0, pose, lengths_m=lengths, stature_sd_m=build.stature_sd_m))
        return tracks

    def _learn(self, memory: _Memory, pose: Pose3D, camera: Camera, time_s: float) -> bool:
        options, old = self.options, memory.build
        build = old
        if options.bones and not memory.bones_frozen:
            sample = log_bones(pose, options)
            if np.isfinite(sample).any():
                memory.bones.append(sample)
                if len(memory.bones) in options.steps:
                    lengths, sd = lengths_of(np.array(memory.bones), options)
                    build = replace(build, lengths_m=lengths)
                    memory.bones_frozen = _last(len(memory.bones), options) or bool(
                        sd.max() < options.bones_settled
                    )
        if options.stature and camera.floor is not None and not memory.stature_frozen:
            found = self._stature(memory, pose, camera, camera.floor, time_s)
            if found is not None:
                memory.statures.append(found)
                if len(memory.statures) in options.steps:
                    stature_m, sd_m = self._combined(np.array(memory.statures))
                    build = replace(build, stature_m=stature_m, stature_sd_m=sd_m)
                    memory.stature_frozen = (
                        _last(len(memory.statures), options) or sd_m < options.stature_settled_m
                    )
        if memory.bones_frozen:
            memory.bones.clear()
        if memory.stature_frozen:
            memory.statures.clear()
        settled = memory.bones_frozen or not options.bones
        sized = memory.stature_frozen or not options.stature or camera.floor is None
        memory.build = replace(build, frozen=settled and sized)
        return build is not old

    def _stature(
        self, memory: _Memory, pose: Pose3D, camera: Camera, floor: Floor, time_s: float
    ) -> tuple[float, float] | None:
        """(stature, standard deviation) in m by the ankles that stand now, if any does."""
        options = self.options
        measured = statures_m(pose, camera, floor)
        memory.root_m = measured.root_m
        rays = camera.rays(pose.partial.joints_px[ANKLES_2D])
        seen = pose.partial.score[ANKLES_2D] >= options.score_2d
        memory.ankles.append((time_s, np.where(seen[:, None], rays, np.nan)))
        while len(memory.ankles) > 2 and time_s - memory.ankles[1][0] >= options.still_s:
            memory.ankles.popleft()
        passed_s = time_s - memory.ankles[0][0]
        step_s = np.diff(self._times_s).min(initial=np.inf)  # a pause is no step
        if not 0.5 * options.still_s <= passed_s <= max(3 * options.still_s, 1.5 * step_s):
            return None
        if passed_s > options.apart_s:
            return self._of_ankles(measured, seen)
        way = np.linalg.norm(rays - memory.ankles[0][1], axis=-1)
        depth = measured.depth_m * measured.stature_m / REFERENCE_STATURE_M
        with np.errstate(invalid="ignore"):  # what was not seen is nan, and compares as false
            stands = seen & (way * depth < options.still_m_s * passed_s)
        return self._of_ankles(measured, stands)

    def _of_ankles(self, measured: Statures, stands: np.ndarray) -> tuple[float, float] | None:
        """(stature, standard deviation) in m by those of the ankles (2,) that stand, if any."""
        options = self.options
        low, high = options.possible_m
        with np.errstate(invalid="ignore"):
            stands = stands & (measured.stature_m > low) & (measured.stature_m < high)
        if not stands.any():
            return None
        values, sds = measured.stature_m[stands], measured.sd_m[stands]
        if np.ptp(values) > options.one_foot * values.min():
            return float(values.min()), float(sds[values.argmin()])
        return float(values.mean()), float(sds.mean())

    def _combined(self, statures: np.ndarray) -> tuple[float, float]:
        """(N, 2) measurements and their standard deviations -> stature and its own, in m."""
        frames = max(1.0, len(statures) / self.options.together)
        middle, frame_sd = np.median(statures, 0)
        value = np.quantile(statures[:, 0], self.options.quantile) / self.options.too_tall
        spread = 1.4826 * float(np.median(np.abs(statures[:, 0] - middle)))
        sd = np.hypot(1.25 * max(frame_sd, spread) / np.sqrt(frames), _LASTING * frame_sd)
        return combined(float(value), float(sd), self._population())

    def _population(self) -> list[tuple[float, float, float]]:
        """(share, mean, standard deviation) in m of the groups of which somebody may be."""
        options = self.options
        if options.given:
            sd_m = options.adults_sd_m if self._several else options.given_sd_m
            return [(1.0, self.height_m, sd_m)]
        adults = (1 - options.children, self.height_m, options.adults_sd_m)
        return [adults, (options.children, *options.children_m)]

    def _first(self) -> Build:
        share, mean, sd = np.array(self._population()).T
        sd_m = np.sqrt(share @ (sd**2 + (mean - self.height_m) ** 2))
        return Build(BODY.lengths_m.copy(), self.height_m, float(sd_m), False)


@dataclass(slots=True, eq=False)
class _Memory:
    build: Build
    bones: list[np.ndarray] = field(default_factory=list)  # (B,) each
    statures: list[tuple[float, float]] = field(default_factory=list)
    ankles: deque[tuple[float, np.ndarray]] = field(default_factory=deque)  # time, (2, 2) rays
    root_m: np.ndarray = field(default_factory=lambda: np.zeros(3))  # if 1.70 m tall
    bones_frozen: bool = False
    stature_frozen: bool = False


_LASTING = 0.7  # share of a frame's standard deviation that lasts: floor, pose, shoes
_HERE = {
    "hip": ("hip",), "knee": ("hip", "knee"), "ankle": ("knee", "ankle"),
    "shoulder": ("shoulder",), "elbow": ("shoulder", "elbow"), "wrist": ("elbow", "wrist"),
    "spine": (), "neck": (), "head": (),
}  # fmt: skip
"""2D joints of its side that must be well seen to measure a bone; of the middle, the torso's."""
_TORSO = [J2D[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "hip")]


def log_bones(pose: Pose3D, options: ProportionOptions = ProportionOptions()) -> np.ndarray:
    """(B,) logarithms of the bones of `options.response` over BODY's; nan where not well seen."""
    good = np.isfinite(pose.partial.joints_px).all(-1) & (pose.partial.score >= options.score_2d)
    lengths = np.linalg.norm(pose.joints_m - pose.joints_m[_PARENTS], axis=-1)
    out = np.full(len(options.response), np.nan)
    for b, name in enumerate(options.response):
        logs = []
        for joint, needed in _bones(name):
            if good[needed].all() and np.isfinite(lengths[joint]) and lengths[joint] > 0.01:
                logs.append(np.log(lengths[joint] / BODY.lengths_m[joint]))
        if logs:
            out[b] = np.mean(logs)
    return out


def lengths_of(
    samples: np.ndarray, options: ProportionOptions = ProportionOptions()
) -> tuple[np.ndarray, np.ndarray]:
    """(N, B) `log_bones` -> (21,) m of a body of 1.70 m, (B,) standard deviation of the logarithms.

    A bone that was not seen has the length of the mean body, up to what keeps the size.
    """
    responses = list(options.response.values())
    logs, sds = np.zeros(len(BODY.names)), np.zeros(len(responses))
    for b, (name, one) in enumerate(zip(options.response, responses, strict=True)):
        values = samples[np.isfinite(samples[:, b]), b]
        sds[b] = one.spread
        if not len(values):
            continue
        middle = float(np.median(values))
        spread = max(1.4826 * float(np.median(np.abs(values - middle))), _FRAME)
        frames = max(1.0, len(values) / options.together)
        variance = one.error**2 + (1.25 * spread / one.gain) ** 2 / frames
        share = one.spread**2 / (one.spread**2 + variance)
        for joint, _ in _bones(name):
            logs[joint] = share * (middle - one.bias) / one.gain
        sds[b] = one.spread * np.sqrt(1 - share)
    lengths = BODY.lengths_m * np.exp(np.clip(logs, -_MOST, _MOST))
    return lengths / body_size(lengths), sds


_FRAME = 0.06  # standard deviation of a bone's logarithm from frame to frame, at least
_MOST = 0.20  # of a logarithm: three standard deviations of the population
_PARENTS = np.array(BODY.parents)


def _bones(name: str) -> list[tuple[int, list[int]]]:
    """Joints at the ends of a bone, left and right, and the 2D joints that must be seen."""
    if name in J3D:
        return [(J3D[name], _TORSO)]
    return [
        (J3D[f"{side}_{name}"], [J2D[f"{side}_{part}"] for part in _HERE[name]])
        for side in ("left", "right")
    ]


def _last(count: int, options: ProportionOptions) -> bool:
    return count >= options.steps[-1]
