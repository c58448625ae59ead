"""Every term of the energy against finite differences, and what each is for."""

from collections.abc import Callable

import numpy as np
import pytest
from test_fit import CAMERA, bodies, seen
from test_kinematics import rest_offsets, some_poses

from xnect.calib.floor import Floor
from xnect.energy import Weights, quadratic
from xnect.evidence import MOVING, gather
from xnect.kinematics import (
    Load,
    Pose,
    Posed,
    forward,
    jacobian,
    moved,
    normal_equations,
    with_hinges,
)
from xnect.residuals import (
    FEET,
    PointTerm,
    bones_3d,
    cauchy,
    ease,
    floor_contact,
    geman_mcclure,
    limits,
    root_near,
    seen_2d,
    shape_3d,
    standing_feet,
    steady,
)
from xnect.rig import JOINTS, RIG, SOLES_M
from xnect.skeleton import ROOT
from xnect.track import Track

SMALL = 1e-6
RNG = np.random.default_rng(0)
PEOPLE = 4
TARGET = RNG.normal(0, 0.4, (PEOPLE, JOINTS, 3))
RAYS = RNG.normal(0, 0.2, (PEOPLE, 18, 2))
SCORE_3D, SCORE_2D = RNG.uniform(0, 1, (PEOPLE, JOINTS)), RNG.uniform(0, 1, (PEOPLE, 18))
CONTACT = RNG.uniform(0, 1, (PEOPLE, 4))
UP = np.array([0.1, -0.99, -0.1]) / np.linalg.norm([0.1, -0.99, -0.1])


def on_floor(posed: Posed, contact: float) -> PointTerm:
    before = np.full((PEOPLE, 4, 3), (0.1, 0.8, 4.0))
    sure = np.full((PEOPLE, 4), contact)
    return floor_contact(
        posed, UP, 1.0, np.ones(PEOPLE), before, sure, weight=3.0, soft_m=0.3, below=5.0
    )  # fmt: skip


def held(posed: Posed) -> PointTerm:
    before = np.full((PEOPLE, 4, 3), (0.1, 0.8, 4.0))
    return standing_feet(posed, before, CONTACT, weight=3.0, soft_m=0.3, along=0.4)


POINT_TERMS: dict[str, tuple[Callable[[Posed], PointTerm], np.ndarray]] = {
    "3D": (lambda p: shape_3d(p, TARGET, SCORE_3D, soft_m=0.3), np.arange(JOINTS)),
    "2D": (lambda p: seen_2d(p, RAYS, SCORE_2D, np.full(PEOPLE, 4.0), soft_m=0.5), RIG.seen),
    "standing": (lambda p: on_floor(p, 0.7), FEET),
    "standing without a floor": (held, FEET),
    "above or below the floor": (lambda p: on_floor(p, 0.0), FEET),
}


@pytest.mark.parametrize("name", POINT_TERMS)
def test_the_force_of_a_point_term_is_the_slope_of_its_cost(name: str) -> None:
    term, points = POINT_TERMS[name]
    posed = forward(some_poses(PEOPLE), rest_offsets(PEOPLE))
    here = term(posed)
    for k, point in enumerate(points):
        if name == "3D" and point == ROOT:
            continue  # the others are taken from it
        for axis in range(3):
            shifted = []
            for sign in (1, -1):
                there = posed.points_m.copy()
                there[:, point, axis] += sign * SMALL
                shifted.append(term(Posed(there, posed.turned)).cost)
            slope = (shifted[0] - shifted[1]) / (2 * SMALL)
            assert np.allclose(slope, here.force[:, k, axis], atol=1e-6)


def test_the_force_of_a_bone_is_the_slope_of_its_cost_by_the_joint_at_its_end() -> None:
    """Seen at joints that carry no others: only one bone moves with each."""
    posed = forward(some_poses(PEOPLE), rest_offsets(PEOPLE))
    here = bones_3d(posed, TARGET, SCORE_3D, soft_m=0.3)
    for joint in set(range(JOINTS)) - set(RIG.parents.tolist()):
        for axis in range(3):
            shifted = []
            for sign in (1, -1):
                there = posed.points_m.copy()
                there[:, joint, axis] += sign * SMALL
                term = bones_3d(Posed(there, posed.turned), TARGET, SCORE_3D, soft_m=0.3)
                shifted.append(term.cost)
            slope = (shifted[0] - shifted[1]) / (2 * SMALL)
            assert np.allclose(slope, here.force[:, joint, axis], atol=1e-6)
    assert np.linalg.eigvalsh(here.stiffness).min() > -1e-9


def test_bones_do_not_heed_where_they_begin() -> None:
    posed = forward(some_poses(PEOPLE), rest_offsets(PEOPLE))
    moved_away = Posed(posed.points_m + 1.0, posed.turned)
    one, other = (bones_3d(p, TARGET, SCORE_3D, soft_m=0.3) for p in (posed, moved_away))
    assert np.allclose(one.cost, other.cost)


@pytest.mark.parametrize("name", POINT_TERMS)
def test_the_stiffness_of_a_point_term_is_symmetric_and_never_negative(name: str) -> None:
    stiffness = POINT_TERMS[name][0](forward(some_poses(4), rest_offsets(4))).stiffness
    assert np.allclose(stiffness, stiffness.swapaxes(-1, -2))
    assert np.linalg.eigvalsh(stiffness).min() > -1e-9


@pytest.mark.parametrize("term", [limits, ease])
def test_the_slope_of_an_angle_term_is_that_of_its_cost(term: Callable) -> None:
    count = len(RIG.lower_rad)
    angles = RNG.uniform(-3, 3, (5, count))
    here = term(angles, weight=2.0)
    for i in range(count):
        step = np.zeros(count)
        step[i] = SMALL
        ahead, behind = term(angles + step, weight=2.0), term(angles - step, weight=2.0)
        assert np.allclose((ahead.cost - behind.cost) / (2 * SMALL), here.slope[:, i], atol=1e-6)
    assert (here.curvature >= 0).all()


def test_the_floor_pulls_only_as_contact_is_sure_and_pushes_whatever_it_is() -> None:
    posed = forward(some_poses(PEOPLE), rest_offsets(PEOPLE))

    def force(height_m: float, contact: float) -> float:
        feet = posed.points_m[:, FEET]
        soles_m = np.tile(list(SOLES_M.values()), 2)
        there = posed.points_m.copy()
        there[:, FEET] += (height_m + soles_m - 1.0 - feet @ UP)[..., None] * UP
        term = on_floor(Posed(there, posed.turned), contact)
        return float((term.force @ UP).mean())  # of the cost: down where it is positive

    assert force(0.1, 0.0) == pytest.approx(0)
    assert force(0.1, 0.5) == pytest.approx(3.0 * 0.5 * 0.1)
    for contact in (0.0, 1.0):
        assert force(-0.1, contact) == pytest.approx(5.0 * 3.0 * -0.1)


def test_limits_cost_nothing_within_and_more_the_farther_out() -> None:
    middle = (RIG.lower_rad + RIG.upper_rad)[None] / 2
    assert not limits(middle, weight=1.0).cost.any()
    beyond = np.stack([RIG.upper_rad + x for x in (0.1, 0.2, 0.4)])
    cost = limits(beyond, weight=1.0).cost
    assert np.allclose(cost / cost[0], (1, 4, 16))


def test_the_root_is_pulled_to_where_it_is_expected() -> None:
    pose = some_poses(3)
    term = root_near(pose, pose.root_m + np.array((1, 2, 3)), np.array([[1.0, 1, 0.5]] * 3))
    assert np.allclose(term.slope, (-1, -2, -1.5))
    assert np.allclose(term.cost, 0.5 * (1 + 4 + 4.5))


def test_a_robust_loss_is_the_square_for_small_residuals_and_lets_large_ones_go() -> None:
    for loss in (geman_mcclure, cauchy):
        value, trust = loss(np.array([1e-8, 1.0, 1e4]), 0.1)
        assert value[0] == pytest.approx(1e-8, rel=1e-4)
        assert trust[0] == pytest.approx(1, rel=1e-4)
        assert trust[2] < trust[1] < 0.02
        square = np.linspace(0.01, 1, 50)
        slope = (loss(square + SMALL, 0.3)[0] - loss(square - SMALL, 0.3)[0]) / (2 * SMALL)
        assert np.allclose(slope, loss(square, 0.3)[1], atol=1e-6)


def test_the_normal_equations_are_those_of_the_written_out_jacobian() -> None:
    posed = forward(some_poses(PEOPLE), rest_offsets(PEOPLE))
    slope = jacobian(posed)
    seen_from_root = slope.copy()
    seen_from_root[..., :3] = 0
    factor = RNG.normal(size=(2, *posed.points_m.shape[:2], 2, 3))
    world, relative = (
        Load(RNG.normal(size=posed.points_m.shape), a.swapaxes(-1, -2) @ a) for a in factor
    )
    children = np.flatnonzero(RIG.parents[:JOINTS] >= 0)
    bone = np.zeros_like(slope[:, :JOINTS])
    bone[:, children] = slope[:, children] - slope[:, RIG.parents[children]]
    bones = Load(*(part[:, :JOINTS] for part in relative))
    gradient, hessian = normal_equations(posed, world, relative, bones)
    expected_gradient, expected_hessian = 0, 0
    for by_freedom, load in ((slope, world), (seen_from_root, relative), (bone, bones)):
        expected_gradient += np.einsum("pnid,pni->pd", by_freedom, load.force)
        expected_hessian += np.einsum("pnid,pnij,pnje->pde", by_freedom, load.stiffness, by_freedom)
    assert np.allclose(gradient, expected_gradient)
    assert np.allclose(hessian, expected_hessian)


def test_the_gradient_of_the_energy_is_the_finite_difference() -> None:
    points, _ = bodies(PEOPLE, seed=8)
    tracks = [Track(0, pose) for pose in seen(points, noise_m=0.05, noise_px=5)]
    floor = Floor((0.0, -1.0, 0.0), 0.7)  # high: some feet are below it
    evidence = gather(tracks, CAMERA, 0.0, height_m=1.7, face=0.3, floor=floor)
    evidence.contact[:] = 0.5
    evidence.feet_m[:] = points[:, FEET] + 0.01
    evidence.steady_weight[:] = 1
    evidence.root_weight[:] = 0.3
    pose = with_hinges(some_poses(PEOPLE, seed=3), np.full((PEOPLE, 6), 0.5))
    pose = Pose(points[:, ROOT] + 0.1, pose.local)
    here = quadratic(pose, evidence, Weights())
    for d in range(RIG.freedom):
        step = np.zeros((PEOPLE, RIG.freedom))
        step[:, d] = SMALL
        ahead = quadratic(moved(pose, step), evidence, Weights()).cost
        behind = quadratic(moved(pose, -step), evidence, Weights()).cost
        assert np.allclose((ahead - behind) / (2 * SMALL), here.gradient[:, d], atol=1e-5)
    assert np.linalg.eigvalsh(here.hessian).min() > -1e-6


def test_a_steady_joint_costs_nothing_and_a_turning_one_by_what_it_carries() -> None:
    pose = some_poses(2)
    assert np.allclose(steady(pose, pose.local[:, MOVING], np.ones(2), soft_rad=1.0).cost, 0)
    cost = []
    for freedom in (6, 24):  # the spine, an elbow
        step = np.zeros((2, RIG.freedom))
        step[:, freedom] = 0.05
        turned = moved(pose, step)
        cost.append(steady(turned, pose.local[:, MOVING], np.ones(2), soft_rad=1.0).cost)
    assert (cost[0] > 10 * cost[1]).all()
