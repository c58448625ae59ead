"""Which joints are evidence in 3D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.test_refine import somebody
from xnect.calib.camera import Camera
from xnect.lift import lift
from xnect.model import load_pipeline
from xnect.skeleton import J2D
from xnect.sure_joints import sure_joints


def test_only_sure_joints_are_evidence_but_never_fewer_than_three():
    one = somebody((100, 100), 100.0)
    score = np.linspace(0.1, 0.95, 18).astype(np.float32)
    sure = sure_joints(replace(one, score=score), twin_within=0.0)
    np.testing.assert_array_equal(sure, score >= 0.5)
    assert sure_joints(replace(one, score=score / 5)).sum() == 3


def test_of_two_sides_on_one_limb_the_surer_is_evidence():
    one = somebody((100, 100), 100.0)
    left, right = J2D["left_knee"], J2D["right_knee"]
    one.joints_px[left] = one.joints_px[right] + 1
    one.score[right] = 0.7
    sure = sure_joints(one)
    assert sure[left]
    assert not sure[right]
    assert sure.sum() == 17


def test_unsure_joints_are_shown_but_not_lifted():
    """The pose in 3D is the same wherever an unsure joint lies."""
    one = replace(somebody((320, 240), 200.0), sure=np.arange(18) != J2D["left_wrist"])
    other = replace(one, joints_px=one.joints_px.copy())
    other.joints_px[J2D["left_wrist"]] += 50
    camera, lifter = Camera.guess(480, 640), load_pipeline().lifter
    np.testing.assert_array_equal(
        lift([one], lifter, camera=camera)[0].joints_m,
        lift([other], lifter, camera=camera)[0].joints_m,
    )
