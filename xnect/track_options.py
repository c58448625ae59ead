"""Options of the tracker, with unit and reason of each."""

from __future__ import annotations

from dataclasses import dataclass


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
    made_of: float = 0.7  # share of joints that are joints of surer poses: no body of its own
    confirm_frames: int = 3
    trial_s: float = 0.5  # seen so long before a new number is given, of `shown_at_least` quality
    trial_below: tuple[float, float] = (0.63, 0.72)  # quality: of somebody alone; beside others
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
    shown_at_least: float = 0.58  # mean score of the surest joints of somebody given out first
    hidden_below: float = 0.5  # and of somebody who is given out no more
    hidden_s: float = 1.0  # over which that is taken
    filter_px: tuple[float, float] = (1.7, 0.3)  # cutoff Hz; beta per px/s of a 512 px wide picture
    filter_m: tuple[float, float] = (1.5, 4.0)  # cutoff Hz; beta per m/s
