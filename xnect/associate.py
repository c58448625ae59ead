"""From the network's maps to people: which joints belong together.

The limbs of everybody are sorted by how well they fit, and the best are accepted first; joints
that hang together are one person (a greedy parse after Cao et al. 2017, but over all limbs at
once, so that fragments grow together in any order).  Three steps mend what the greedy parse
leaves: a joint where two people's peaks have melted into one is given to both, fragments that no
visible limb connects (a hidden neck) are joined where a body could do so, and a second copy of a
person on the same joints or limbs is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xnect.detect import Links, Peaks, codes_at, find_peaks, score_links
from xnect.errors import BadInput
from xnect.skeleton import BODY, J2D, J3D, JOINTS2D, LIMBS
from xnect.types import PartialPose


@dataclass(frozen=True)
class AssociateOptions:
    """When a peak is a joint, a link is a limb, and a group of joints is a person."""

    peak_at_least: float = 0.25  # heatmap value; low, since a limb must confirm the joint
    most_peaks: int = 32  # per joint; 20 people and room for errors
    along_at_least: float = 0.05  # of one sample; the field is about 0 beside limbs
    support_at_least: float = 0.7  # share of samples along a limb; hands and legs cross it
    link_at_least: float = 0.15  # mean field along the limb: the field is weak where unsure
    short_cells: float = 1.0  # a limb shorter than this lies in too few cells to show a direction
    short_fit: float = 0.4  # what a link of length 0 scores: near joints mostly belong together
    share_at_least: float = 0.35  # fit of the links that give one joint to two people
    join_within: float = 1.3  # of the resting distance: fragments that may be one body
    same_within_m: float = 0.12  # on the body: nearer joints are one joint, seen twice
    shadow_within_m: float = 0.18  # of a limb of a better seen person, on that person's body
    shadow_share: float = 0.7  # of the joints that lie there
    shadow_score: float = 0.6  # of the better person's score that the remainder has at most
    sharers_own_at_least: int = 4  # joints of its own that a person has who borrows one
    joints_at_least: int = 3  # a person; fewer are mostly noise
    best_at_least: float = 0.35  # heatmap value of the person's surest joint
    score_at_least: float = 0.05  # person_score


def find_people(
    heatmaps: np.ndarray,
    affinities: np.ndarray,
    codes: np.ndarray | None,
    image_from_cell: np.ndarray,
    options: AssociateOptions = AssociateOptions(),
    *,
    offsets: np.ndarray | None = None,
) -> list[PartialPose]:
    """(18, h, w), (19, 2, h, w), (63, h, w) or None -> everybody that the maps show, best first.

    Args:
        heatmaps: probability of each joint.
        affinities: unit vectors along the limbs of `LIMBS`, x then y.
        codes: 3D encoding, planar x, y, z; None gives zeros.
        image_from_cell: (2, 3), pixel of the picture = A @ [cell_x, cell_y, 1].
        options: thresholds.
        offsets: (18, 2, h, w) cells from each cell to the joint next to it; None fits Gaussians.

    Raises:
        BadInput: maps that do not have these shapes.
    """
    _check(heatmaps, affinities, codes, offsets)
    peaks = find_peaks(heatmaps, offsets, threshold=options.peak_at_least, most=options.most_peaks)
    links = score_links(peaks, affinities, along_at_least=options.along_at_least)
    rows = group_peaks(peaks, links, options)
    found = rows >= 0
    joints_px = peaks.xy @ image_from_cell[:, :2].T + image_from_cell[:, 2]
    at_peaks = codes_at(codes, peaks)
    people = [
        PartialPose(
            np.where(seen[:, None], joints_px[row], 0.0).astype(np.float32),
            np.where(seen, peaks.score[row], 0.0).astype(np.float32),
            np.where(seen[:, None], at_peaks[row], 0.0).astype(np.float32),
            person_score(peaks.score[row] * seen),
        )
        for row, seen in zip(rows, found, strict=True)
    ]
    people = [p for p in people if p.person_score >= options.score_at_least]
    return sorted(people, key=lambda p: -p.person_score)


def _check(
    heatmaps: np.ndarray,
    affinities: np.ndarray,
    codes: np.ndarray | None,
    offsets: np.ndarray | None,
) -> None:
    hw = heatmaps.shape[1:]
    right = {
        "heatmaps": (18, *hw),
        "affinities": (19, 2, *hw),
        "codes": (63, *hw),
        "offsets": (18, 2, *hw),
    }
    given = {
        "heatmaps": heatmaps, "affinities": affinities, "codes": codes, "offsets": offsets
    }  # fmt: skip
    for name, array in given.items():
        if array is not None and (array.shape != right[name] or len(hw) != 2):
            raise BadInput(f"{name} have the shape {array.shape}; right would be {right[name]}")


def person_score(joint_score: np.ndarray) -> float:
    """(18,) with 0 for absent -> 0..1: mean over all 18, so that complete people come first."""
    return float(joint_score.mean())


def group_peaks(peaks: Peaks, links: Links, options: AssociateOptions) -> np.ndarray:
    """Peaks and possible limbs -> (P, 18) peak number of each person's joints, -1 where absent."""
    fit = link_fit(links, options)
    near = np.minimum(links.length / options.short_cells, 1)
    good = (fit >= options.link_at_least) & (links.support >= options.support_at_least * near)
    order = np.nonzero(good)[0]
    order = order[np.argsort(-fit[order], kind="stable")]
    limb, a, b = (part[order].tolist() for part in (links.limb, links.a, links.b))
    owner, refused = _grow(peaks, limb, a, b)
    rows = np.full((len(owner), len(JOINTS2D)), -1)
    rows[owner, peaks.joint] = np.arange(len(owner))
    groups = _Groups(peaks, rows, owner, (rows >= 0).sum(1))
    _heal(groups, [(a[k], b[k]) for k in refused], options)
    sure = [(a[k], b[k]) for k in refused if fit[order[k]] >= options.share_at_least]
    _share(groups, sure, options)
    _join(groups, options)
    return _keep(groups, options)


def link_fit(links: Links, options: AssociateOptions) -> np.ndarray:
    """(M,) how well each link fits: its mean field, and less of it the shorter it is."""
    long = np.minimum(links.length / options.short_cells, 1)
    return long * links.along + (1 - long) * options.short_fit


def _grow(
    peaks: Peaks, limb: list[int], a: list[int], b: list[int]
) -> tuple[np.ndarray, list[int]]:
    """Links, best first -> (N,) number of the group of each peak, and the links refused.

    A link is accepted when neither end has that limb already and the groups share no joint.
    """
    count = len(peaks.joint)
    group = list(range(count))
    members = [[i] for i in range(count)]
    joints = [1 << j for j in peaks.joint.tolist()]
    used: set[tuple[int, int]] = set()
    refused = []
    for k, (one, i, j) in enumerate(zip(limb, a, b, strict=True)):
        left, right = group[i], group[j]
        if left == right:
            continue
        if (one, i) in used or (one, j) in used or joints[left] & joints[right]:
            refused.append(k)
            continue
        used.update(((one, i), (one, j)))
        if len(members[left]) < len(members[right]):
            left, right = right, left
        joints[left] |= joints[right]
        members[left] += members[right]
        for peak in members[right]:
            group[peak] = left
    return np.array(group, np.intp), refused


@dataclass(slots=True)
class _Groups:
    """The groups of peaks while they are mended: one row per group, -1 where a joint is absent."""

    peaks: Peaks
    rows: np.ndarray  # (G, 18) peak numbers
    owner: np.ndarray  # (N,) row of the group that each peak belongs to
    own: np.ndarray  # (G,) how many joints are not borrowed from another group

    def merge(self, into: int, other: int) -> None:
        """Give one row's peaks to another row; where both have a joint the surer peak stays."""
        one, two = self.rows[into], self.rows[other]
        score = self.peaks.score
        self.rows[into] = np.where((one < 0) | ((two >= 0) & (score[two] > score[one])), two, one)
        self.rows[other] = -1
        self.owner[self.owner == other] = into
        self.own[into] = min(self.own[into] + self.own[other], (self.rows[into] >= 0).sum())
        self.own[other] = 0

    def cells_per_m(self, rows: np.ndarray) -> np.ndarray:
        """(n,) rows -> (n,) size of the body in the picture: by the limb least foreshortened."""
        a, b = LONG_LIMBS.T
        peaks = self.rows[rows]  # (n, 18)
        way = self.peaks.xy[peaks[:, a]] - self.peaks.xy[peaks[:, b]]  # (n, limbs, 2)
        ratio = np.hypot(way[..., 0], way[..., 1]) / LONG_LENGTHS_M
        there = (peaks[:, a] >= 0) & (peaks[:, b] >= 0)
        return np.where(there, ratio, 0).max(1, initial=0)


def _heal(groups: _Groups, refused: list[tuple[int, int]], options: AssociateOptions) -> None:
    """Merge two groups that a limb connects and whose common joints are one joint seen twice."""
    if not refused:
        return
    pairs = groups.owner[np.array(refused)]  # (n, 2)
    pairs = pairs[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]  # best links first
    same = _same_joints(groups, pairs[:, 0], pairs[:, 1], options)
    into = {row: row for row in np.unique(pairs[same]).tolist()}
    for one, two in pairs[same].tolist():
        left, right = into[one], into[two]
        if left != right and _same_joints(groups, left, right, options):
            groups.merge(left, right)
            into = {row: left if now == right else now for row, now in into.items()}


def _same_joints(
    groups: _Groups, ones: np.ndarray | int, twos: np.ndarray | int, options: AssociateOptions
) -> np.ndarray:
    """(n,), (n,) rows -> (n,) whether all joints that both have lie at the same place."""
    ones, twos = np.atleast_1d(ones), np.atleast_1d(twos)
    left, right = groups.rows[ones], groups.rows[twos]  # (n, 18)
    way = groups.peaks.xy[left] - groups.peaks.xy[right]
    size = np.maximum(groups.cells_per_m(ones), groups.cells_per_m(twos))
    near = np.hypot(way[..., 0], way[..., 1]) <= options.same_within_m * size[:, None]
    return (near | (left < 0) | (right < 0)).all(1)


def _share(groups: _Groups, sure: list[tuple[int, int]], options: AssociateOptions) -> None:
    """Give a joint that another group owns to groups that a limb connects with it as well.

    Where two people's joints coincide in the picture there is one peak.  The greedy parse gives
    it to one of them and the other falls apart there, so its parts are joined again as well.
    """
    joint = groups.peaks.joint
    wanted: dict[int, list[int]] = {}
    for a, b in sure:
        for peak, other in ((a, b), (b, a)):
            if groups.owner[a] != groups.owner[b]:
                wanted.setdefault(peak, []).append(other)
    for peak, others in wanted.items():
        takers: list[int] = []
        filled = np.zeros(len(JOINTS2D), bool)
        filled[joint[peak]] = True
        for row in dict.fromkeys(int(groups.owner[other]) for other in others):
            seen = groups.rows[row] >= 0
            if row != groups.owner[peak] and not (seen & filled).any():
                filled |= seen
                takers.append(row)
        if sum(int(groups.own[row]) for row in takers) >= options.sharers_own_at_least:
            for row in takers[1:]:
                groups.merge(takers[0], row)
            groups.rows[takers[0], joint[peak]] = peak


def _join(groups: _Groups, options: AssociateOptions) -> None:
    """Merge groups without a common joint that would make one body of plausible proportions."""
    rows = np.nonzero(groups.own >= 2)[0]
    seen = (groups.rows[rows] >= 0).astype(int)
    ones, twos = (rows[part] for part in np.nonzero(np.triu(seen @ seen.T == 0, 1)))
    costs = _distances(groups, ones, twos)
    near = costs <= options.join_within
    order = np.argsort(costs[near], kind="stable")
    into = {row: row for row in rows.tolist()}
    for one, two in zip(ones[near][order].tolist(), twos[near][order].tolist(), strict=True):
        left, right = into[one], into[two]
        if left != right and _distances(groups, left, right)[0] <= options.join_within:
            groups.merge(left, right)
            into = {row: left if now == right else now for row, now in into.items()}


def _distances(groups: _Groups, ones: np.ndarray | int, twos: np.ndarray | int) -> np.ndarray:
    """(n,), (n,) rows -> (n,) how far apart, in resting distances; inf if they cannot be one."""
    ones, twos = np.atleast_1d(ones), np.atleast_1d(twos)
    left, right = groups.rows[ones], groups.rows[twos]  # (n, 18)
    sizes = np.stack([groups.cells_per_m(ones), groups.cells_per_m(twos)])
    a, b = _BRIDGES.T
    bridged = (left[:, a] >= 0) & (right[:, b] >= 0)  # (n, bridges)
    way = groups.peaks.xy[left[:, a]] - groups.peaks.xy[right[:, b]]
    rest = _REST_M[a, b] * sizes.max(0)[:, None] + 0.5
    apart = np.where(bridged, np.hypot(way[..., 0], way[..., 1]) / rest, 0).max(1)
    possible = bridged.any(1) & ~((left >= 0) & (right >= 0)).any(1)
    possible &= (sizes.min(0) > 0) & (sizes.max(0) <= 2.5 * sizes.min(0))
    return np.where(possible, apart, np.inf)


def _keep(groups: _Groups, options: AssociateOptions) -> np.ndarray:
    """(P, 18): the groups that are people, best first, without those that repeat a better one."""
    score = np.where(groups.rows >= 0, groups.peaks.score[groups.rows], 0)  # (G, 18)
    person = groups.own >= options.joints_at_least
    person &= score.max(1, initial=0) >= options.best_at_least
    rows = np.nonzero(person)[0]
    rows = rows[np.argsort(-score[rows].sum(1), kind="stable")]
    people = groups.rows[rows]
    seen = people >= 0
    xy = groups.peaks.xy[people]  # (P, 18, 2)
    within = options.same_within_m * groups.cells_per_m(rows)
    apart = np.linalg.norm(xy[:, None] - xy, axis=-1)  # (P, P, 18), of the row from the column
    same = (apart <= within[None, :, None]) & seen[:, None] & seen
    copy = np.tril(same.sum(2) > 0.6 * seen.sum(1)[:, None], -1).any(1)
    people, rows = people[~copy], rows[~copy]
    size = groups.cells_per_m(rows)
    return people[~_shadows(groups, people, score[rows].sum(1), size, options)]


_A, _B = np.array(LIMBS).T


def _shadows(
    groups: _Groups,
    people: np.ndarray,
    total: np.ndarray,
    size: np.ndarray,
    options: AssociateOptions,
) -> np.ndarray:
    """(P,) bool: those whose joints lie on the limbs of somebody who is far better seen.

    A person whose sides the network is not sure of shows twice: once well, and once as a weak
    remainder with left and right exchanged, joint for joint on the same body.
    """
    if len(people) < 2:
        return np.zeros(len(people), bool)
    seen, xy = people >= 0, groups.peaks.xy[people]  # (P, 18), (P, 18, 2)
    there = seen[:, _A] & seen[:, _B]  # (P, L)
    start, way = xy[:, _A], xy[:, _B] - xy[:, _A]
    to_joint = xy[:, None, :, None] - start[None, :, None]  # (P, P, 18, L, 2) from the column's
    square = np.maximum((way**2).sum(-1), 1e-6)[None, :, None]
    along = np.clip((to_joint * way[None, :, None]).sum(-1) / square, 0, 1)
    off = np.linalg.norm(to_joint - along[..., None] * way[None, :, None], axis=-1)
    off = np.where(there[None, :, None], off, np.inf).min(-1)  # (P, P, 18)
    within = options.shadow_within_m * size  # cells, on the body of the one who is seen better
    on_limb = ((off <= within[None, :, None]) & seen[:, None]).sum(-1)
    covered = on_limb >= options.shadow_share * seen.sum(1)[:, None]
    weaker = total[:, None] <= options.shadow_score * total
    return (covered & weaker).any(1)


def _rest_m() -> np.ndarray:
    """(18, 18) m between the joints of the body at rest; the face is a rough sketch.

    The neck that is seen is the middle of the shoulders.  Of 139,747 people of COCO train2017,
    98 % keep the distances of `_SIDES` within 1.35 times these, at the size of their longest limb.
    """
    place = np.zeros((len(BODY.names), 3))
    for j in BODY.order[1:]:
        place[j] = place[BODY.parents[j]] + BODY.offsets_m[j]
    head = place[J3D["head"]]
    face = {"nose": (0, -0.02, 0.11), "eye": (0.032, 0.02, 0.09), "ear": (0.075, 0, 0)}
    rest = []
    for name in JOINTS2D:
        side, _, part = name.rpartition("_")
        if part in face:
            rest.append(head + face[part] * np.array([1 if side == "left" else -1, 1, 1]))
        else:
            rest.append(place[J3D[name]])
    rest[J2D["neck"]] = (rest[J2D["left_shoulder"]] + rest[J2D["right_shoulder"]]) / 2
    way = np.array(rest)[:, None] - np.array(rest)
    return np.linalg.norm(way, axis=-1)


_REST_M = _rest_m()
LONG_LIMBS = np.array([(a, b) for a, b in LIMBS if max(a, b) < 14])  # not those of the face
LONG_LENGTHS_M = _REST_M[LONG_LIMBS[:, 0], LONG_LIMBS[:, 1]]
_SIDES = [(2, 5), (8, 11), (2, 8), (5, 11), (1, 8), (1, 11), (0, 1)]
_BRIDGES = np.array(_SIDES + [(b, a) for a, b in _SIDES])
"""Pairs of joints by which fragments are joined: the torso's sides, neck and nose."""
