"""Who is there: Stage I's word raises the refiner's, and never makes two people one."""

import numpy as np

from tests.test_refine import somebody
from xnect.follow import joint_boxes
from xnect.presence import PresenceOptions, supported

NO_BOXES = np.zeros((0, 4)), np.zeros(0)


def score(people, found=(), boxes=NO_BOXES):
    return [p.person_score for p in supported(people, found, *boxes)]


def test_every_witness_raises_the_score():
    person = somebody((100, 100), 80.0, 0.6)
    box = joint_boxes([person])
    alone = score([person])[0]
    boxed = score([person], boxes=(box, np.array([0.5])))[0]
    posed = score([person], [somebody((102, 101), 78.0, 0.4)])[0]
    both = score([person], [person], (box, np.array([0.5])))[0]
    assert alone < min(boxed, posed) < max(boxed, posed) < both <= 1
    surer = score([person], boxes=(box, np.array([0.8])))[0]
    assert surer > boxed


def test_witnesses_elsewhere_say_nothing():
    person = somebody((100, 100), 80.0, 0.6)
    away = joint_boxes([person]) + 200
    assert score([person], boxes=(away, np.array([0.9]))) == score([person])
    assert score([person], [somebody((300, 100), 80.0)]) == score([person])


def test_with_full_support_the_joints_are_believed_as_they_are():
    o = PresenceOptions()
    person = somebody((100, 100), 80.0, 0.5)
    box = joint_boxes([person]), np.array([o.whole - o.alone])
    np.testing.assert_allclose(score([person], boxes=box), person.score.mean(), rtol=1e-6)


def test_best_first_and_nobody_is_lost():
    first, second = somebody((100, 100), 80.0, 0.6), somebody((300, 100), 80.0, 0.6)
    boxes = joint_boxes([second]), np.array([0.7])
    out = supported([first, second], [], *boxes)
    assert len(out) == 2
    np.testing.assert_array_equal(out[0].joints_px, second.joints_px)
    assert supported([], [], *boxes) == []
