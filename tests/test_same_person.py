"""Who is the same person."""

from __future__ import annotations

import numpy as np

from tests.test_refine import somebody
from xnect.same_person import Looks, SameOptions, different, one_face, same
from xnect.skeleton import J2D


def test_a_second_skeleton_on_the_same_trunk_is_the_same_person():
    one = somebody((100, 100), 100.0)
    other = one.joints_px.copy()
    limbs = [
        J2D[f"{s}_{n}"] for s in ("left", "right") for n in ("elbow", "wrist", "knee", "ankle")
    ]
    other[limbs] += 60
    score, options = np.stack([one.score] * 2), SameOptions(same_share=0.9)
    assert same(np.stack([one.joints_px, other]), score, 5.0, options)
    other[J2D["left_hip"]] += 60
    assert not same(np.stack([one.joints_px, other]), score, 5.0, options)


def test_two_people_do_not_haveone_face():
    one = somebody((100, 100), 100.0)
    other = one.joints_px.copy()
    face = [J2D[n] for n in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
    other[[j for j in range(18) if j not in face]] += 60  # the body of somebody beside
    joints, score = np.stack([one.joints_px, other]), np.stack([one.score] * 2)
    assert one_face(joints, score, 5.0, SameOptions())
    score[1, face[2:]] = 0  # too little of it is seen
    assert not one_face(joints, score, 5.0, SameOptions())
    score[1, face[2:]] = 1
    joints[1, face] += 20
    assert not one_face(joints, score, 5.0, SameOptions())


def test_a_look_that_was_rejected_holds_nobodys_limbs():
    small, large = somebody((100, 100), 30.0), somebody((100, 90), 200.0)
    looks = Looks(
        np.stack([small.joints_px, large.joints_px]), np.stack([small.score, large.score]),
        np.array([30.0, 200.0]), np.zeros(2), [None, None],
    )  # fmt: skip
    assert different(looks, [1, 0])[0] == [1]  # a limb of somebody who is there
    assert different(looks, [0])[0] == [0]
