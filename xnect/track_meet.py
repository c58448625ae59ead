"""People who overlap may be taken for each other: put right when they have come apart.

From when they meet until both have been apart for `settle_s`, what each body looks like lately,
and how large it is, is compared with what is remembered from before: if the two identities suit
the other body clearly better, they go there (never for people in the same clothes, of whom looks
say nothing).  Frames that were given out stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xnect.appearance import BINS, unlikeness
from xnect.track_extent import overlaps
from xnect.track_match import ways_px
from xnect.track_memory import Memory, resized
from xnect.track_options import TrackOptions
from xnect.types import Person


def note_meetings(people: Sequence[Memory], now_s: float, options: TrackOptions) -> None:
    """Who overlaps whom now, and who has been apart from all long enough."""
    near = [m for m in people if m.track_id and now_s - m.time_s <= options.miss_s]
    way_px = ways_px(near, now_s, options.predict_s)
    there = [
        replace(m.seen, joints_px=m.seen.joints_px + way) if m.time_s < now_s else m.seen
        for m, way in zip(near, way_px, strict=True)
    ]
    for i, k in np.argwhere(overlaps(there, options.overlap)):
        if now_s in (near[i].time_s, near[k].time_s):
            if not near[i].met:
                near[i].lately, near[i].lately_px = np.zeros((BINS, BINS)), 0.0
                near[i].lately_frames, near[i].lately_time_s = 0, -np.inf
            near[i].met.add(near[k].track_id)
    apart = {
        m.track_id: m.time_s == now_s and now_s - m.beside_s >= options.settle_s
        for m in people
        if m.track_id
    }
    for m in people:
        if apart.get(m.track_id):
            m.met = {other for other in m.met if not apart.get(other, True)}
            m.own_px = m.size_px


def put_right(people: Sequence[Memory], now_s: float, options: TrackOptions) -> None:
    """Give people who met each other's identities where these suit them clearly better."""
    while True:
        by_id = {m.track_id: m for m in people if m.track_id}
        pairs = {
            (min(m.track_id, other), max(m.track_id, other))
            for m in by_id.values()
            for other in m.met
            if other in by_id
        }
        gains = {(a, b): _gain(by_id[a], by_id[b], now_s, options) for a, b in sorted(pairs)}
        best = max(gains, key=lambda pair: gains[pair], default=None)
        if best is None or gains[best] <= 0:
            return
        _exchange(by_id[best[0]], by_id[best[1]])


def _gain(one: Memory, other: Memory, now_s: float, options: TrackOptions) -> float:
    """How much liker two bodies would be to their identities if these were exchanged.

    Beyond what is asked for; negative when they should stay.
    """
    gain, known = 0.0, 0
    if not len(one.looks) or not len(other.looks):
        return -np.inf
    if unlikeness(one.looks, other.looks).min() < options.swap_apart:
        return -np.inf
    for body, label in ((one, other), (other, one)):
        if body.time_s < now_s or body.lately_frames < options.lately_frames:
            continue
        known += 1
        looks = body.lately[None]
        gain += float(unlikeness(body.looks, looks).min() - unlikeness(label.looks, looks).min())
        if body.lately_px > 0 and body.own_px > 0 and label.own_px > 0:
            off = np.abs(np.log(body.lately_px / np.array([body.own_px, label.own_px])))
            off = np.minimum(off / options.far_size, 1)
            gain += options.swap_size * float(off[0] - off[1])
    return gain - (options.swap_both if known == 2 else options.swap_one)


def _exchange(one: Memory, other: Memory) -> None:
    """Give two bodies each other's identities; motion, filters and fits stay with the bodies."""
    for name in ("track_id", "looks", "own_px", "lengths_m", "stature_sd_m"):
        mine, theirs = getattr(one, name), getattr(other, name)
        setattr(one, name, theirs)
        setattr(other, name, mine)
    both = {one.track_id, other.track_id}
    ratio = float(one.lengths_m.sum() / other.lengths_m.sum())  # to what the first body had
    one.met, other.met = ((one.met | other.met | both) - {m.track_id} for m in (one, other))
    for m, size in ((one, ratio), (other, 1 / ratio)):  # nothing seen changes: depth goes with size
        if m.previous is not None:
            m.previous = _as_other(m.previous, size, m.track_id)
        m.older = tuple((at_s, _as_other(p, size, m.track_id)) for at_s, p in m.older)
        m.root_velocity_m_s = m.root_velocity_m_s * size


def _as_other(person: Person, size: float, track_id: int) -> Person:
    return replace(resized(person, size, person.root_m * size), track_id=track_id)
