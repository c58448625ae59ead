"""Laws of the scenes: what training may see, who hides whom, which feet stand, who comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xnect.errors import BadInput

pytest.importorskip("numba", reason="rendering needs the extra 'train'")

from xnect.synth import clip as clips
from xnect.synth import crowd
from xnect.synth.__main__ import main
from xnect.synth.assets import Assets
from xnect.synth.body import Person, random_person, world_points
from xnect.synth.camera import pinhole, stand
from xnect.synth.dataset import DatasetOptions, PictureSource
from xnect.synth.feet import contact
from xnect.synth.labels import HIDDEN, NOTHING, PERSON, SELF, THING, Labels, R, cover
from xnect.synth.motion import animate, random_pose, stand_on_floor
from xnect.synth.occlusion import ambient_occlusion
from xnect.synth.render import FAR_M, FURNITURE, Renderer
from xnect.synth.scene import Scene, SceneOptions, random_scene
from xnect.synth.sensor import SensorOptions, _streak, camera_noise
from xnect.synth.shards import read_shard, write_shard
from xnect.synth.split import held_out, training
from xnect.synth.things import carried
from xnect.train.datasets.renders import faces_turned_away

PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "synth"
SMALL = SceneOptions(width_px=128, height_px=80, people_shares=(0.1, 0.3, 0.3, 0.3))


@pytest.fixture(scope="module")
def people(assets: Assets) -> list[Person]:
    rng = np.random.default_rng(4)
    return [random_person(assets, rng) for _ in range(4)]


def test_training_and_held_out_share_no_body_motion_clothes_tile_or_photo(assets):
    train, test = training(assets), held_out(assets)

    def rows(array: np.ndarray) -> set[bytes]:
        return {np.ascontiguousarray(x).tobytes() for x in array}

    for part in (
        lambda a: rows(a.body.coefficients),
        lambda a: {str(name) for name in a.motion.name},
        lambda a: {str(group) for group in a.motion.group},
        lambda a: {g.name for g in a.garments if g.kind in ("outfit", "shoes")},
        lambda a: rows(a.fabrics),
        lambda a: {p["file"] for p in a.photos},
    ):
        assert not part(train) & part(test)
        assert part(train) | part(test) == part(assets)
    assert len(test.body.coefficients) == len(assets.body.coefficients) // 10
    assert len(train.room_tiles) + len(test.room_tiles) >= len(assets.room_tiles)
    assert set(train.room_kinds) == set(test.room_kinds) == set(assets.room_kinds)
    for side in (train, test):
        assert side.motion.length.sum() == len(side.motion.rotation) == len(side.motion.root_m)
        genders = {g.gender for g in side.garments if g.kind == "outfit"}
        assert genders == {"male", "female"}


def test_motion_of_a_part_is_the_motion_of_the_whole(assets):
    test = held_out(assets).motion
    whole = assets.motion
    for clip in (0, len(test.start) - 1):
        (number,) = np.flatnonzero(whole.name == test.name[clip])
        assert whole.length[number] == test.length[clip]
        for name in ("rotation", "root_m", "lift_m"):
            a, b = getattr(test, name)[test.start[clip]], getattr(whole, name)[whole.start[number]]
            np.testing.assert_array_equal(a, b)


def test_a_hidden_joint_is_hidden_by_whoever_is_in_front_of_it():
    owner = np.zeros((9, 12), np.uint8)
    owner[:, :4], owner[:, 4:8], owner[:, 8:] = 1, 2, FURNITURE
    joints = np.array([[[1.0, 4], [6, 4], [10, 4]], [[1, 4], [6, 4], [10, 4]]])
    assert cover(joints, owner=owner).tolist() == [[SELF, PERSON, THING], [PERSON, SELF, THING]]
    assert cover(joints[:1], owner=np.zeros_like(owner)).tolist() == [[SELF] * 3]


def test_two_people_on_a_line_hide_one_another_and_depth_says_who_is_in_front(assets, people):
    pose = random_pose(assets, np.random.default_rng(0))
    places = [np.array([0, 0, -3.0]), np.array([0, 0, -4.5])]
    scene = _scene(assets, people[:2], [pose, pose], places)
    picture = Renderer(assets, supersampling=1)(scene)
    labels = picture.labels
    assert labels.depth_order.tolist() == [0, 1]
    back = labels.visibility[1] == HIDDEN
    assert back.sum() >= 6
    assert (labels.hidden_by[1][back] == PERSON).mean() > 0.7
    assert not (labels.hidden_by[0] == PERSON).any()
    assert (labels.hidden_by[labels.visibility != HIDDEN] == NOTHING).all()


def test_what_is_carried_is_a_thing_and_moves_with_the_body(assets, people):
    pose = random_pose(assets, np.random.default_rng(1))
    alone = _scene(assets, people[:1], [pose], [np.array([0, 0, -2.5])])
    rng = np.random.default_rng(3)
    seen = []
    for _ in range(6):
        thing = carried(assets, rng, people[0])
        assert thing.weight[:, 0].min() == 1
        with_it = replace(alone, carried=((0, thing),))
        seen.append((Renderer(assets, supersampling=1)(with_it).owner == FURNITURE).sum())
    assert sum(count > 5 for count in seen) >= 3  # not what is behind the back
    assert not (Renderer(assets, supersampling=1)(alone).owner == FURNITURE).any()


def test_feet_of_a_walker_stand_in_turns_and_do_not_move_while_they_do(assets, people):
    person, motion = people[1], assets.motion
    clip = clips.clips_of(motion, clips.WALKS, frames=60)[0]
    frames = motion.start[clip] + np.arange(60)
    matrices = animate(assets, person, frames, turn=np.eye(3), place_m=np.array([0, 0, -4.0]))
    points = world_points(person, matrices)[:, None]
    stands = contact(points, [person], rate_hz=30)[:, 0]
    assert stands.any(1).mean() > 0.8  # a walker is nearly always on one foot
    assert 0.2 < stands.all(1).mean() + 0.2 < 0.9
    for side, name in enumerate(("left_ankle", "right_ankle")):
        speed = np.linalg.norm(np.gradient(points[:, 0, R[name]], axis=0), axis=1) * 30
        assert np.median(speed[stands[:, side]]) < 0.35 * np.median(speed[~stands[:, side]])
    lifted = points + np.array([0, 0.3, 0])
    assert not contact(lifted, [person], rate_hz=30).any()


def test_a_crowd_leaves_and_comes_back_and_nobody_walks_through_another(assets):
    options = crowd.CrowdOptions(seconds=6, width_px=128, height_px=80, people=4, stay_share=0.0)
    scenes = list(crowd.crowd_scenes(assets, 2, options))
    assert len(scenes) == 180
    assert len({id(s.view) for s in scenes}) == 1
    hips = np.stack([s.points_m[:, [R["left_hip"], R["right_hip"]]].mean(1) for s in scenes])
    view = scenes[0].view
    shows = np.zeros(hips.shape[:2], bool)
    for p in range(4):
        columns, depths = crowd.in_camera(hips[:, p], [view] * 180)
        shows[:, p] = crowd.may_show(columns, depths, 128, view.camera.fx_px)
        inside = (columns > 0) & (columns < 128) & (depths > 0)
        step = np.linalg.norm(np.diff(hips[:, p], axis=0), axis=1)
        assert step[inside[1:] & inside[:-1]].max(initial=0) < 0.2  # nobody jumps in the picture
    changes = np.diff(shows.astype(int), axis=0)
    assert (changes == 1).any()
    assert (changes == -1).any()
    for a in range(4):
        for b in range(a):
            both = shows[:, a] & shows[:, b]
            apart = np.hypot(*(hips[both, a] - hips[both, b])[:, [0, 2]].T)
            assert apart.min(initial=9) > 0.4


def test_the_camera_of_a_crowd_moves_slowly_when_it_is_asked_to():
    options = crowd.CrowdOptions(seconds=4, moving=True)
    views = crowd.views(np.random.default_rng(0), options)
    turns = np.stack([v.camera_from_world for v in views])
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), np.eye(3)[None].repeat(120, 0),
                               atol=1e-12)  # fmt: skip
    cosines = (np.einsum("fij,fij->f", turns[1:], turns[:-1]) - 1) / 2
    assert 0 < np.degrees(np.arccos(np.clip(cosines, -1, 1))).max() < 0.6
    assert np.ptp([v.position_m for v in views], axis=0).max() > 0.05
    with pytest.raises(BadInput, match="2 people"):
        next(crowd.crowd_scenes(None, 1, crowd.CrowdOptions(people=1)))


def test_the_truth_of_a_clip_holds_contact_floor_and_camera(assets, tmp_path):
    scene = random_scene(assets, np.random.default_rng(0), [], options=replace(
        SMALL, people_shares=(1.0,), room_share=1.0))  # fmt: skip
    rng = np.random.default_rng(2)
    someone = random_person(assets, rng)
    pose = random_pose(assets, rng)
    matrices = stand_on_floor(assets.body, someone, pose, place_m=np.array([0, 0, -4.0]))
    scene = replace(scene, people=(someone,), matrices=matrices[None])
    picture = Renderer(assets, supersampling=1)(scene)
    path = clips.write_clip(tmp_path / "c.mp4", iter([(picture, scene)] * 3))
    with np.load(path) as truth:
        assert truth["contact"].shape == (3, 1, 2)
        assert truth["contact"].any()  # somebody who does not move stands
        normal, height = truth["floor"][0, :3], truth["floor"][0, 3]
        np.testing.assert_allclose(height, scene.view.position_m[1], rtol=1e-6)
        m = truth["camera_from_world"][0]
        ground = m[:, :3] @ np.array([1.0, 0, -3]) + m[:, 3]
        np.testing.assert_allclose(normal @ ground + height, 0, atol=1e-5)
        low = truth["joints3d_m"][0, 0] @ normal + height
        assert -0.02 < low.min() < 0.15
        assert truth["depth_order"].tolist() == [[0]] * 3
        assert truth["hidden_by"].shape == truth["visibility"].shape


def test_a_shard_keeps_what_hides_a_joint_and_the_floor(assets, tmp_path):
    source = PictureSource(assets, DatasetOptions(pictures=3, pool=3, scene=SMALL))
    written = list(source.pictures(seed=1, shard=0))
    write_shard(tmp_path / "s.npz", written)
    for example, (picture, scene) in zip(read_shard(tmp_path / "s.npz"), written, strict=True):
        labels = example.picture.labels
        np.testing.assert_array_equal(labels.hidden_by, picture.labels.hidden_by)
        np.testing.assert_array_equal(labels.depth_order, picture.labels.depth_order)
        assert example.camera.floor.distance_m == pytest.approx(scene.view.position_m[1], rel=1e-5)


def test_pictures_do_not_depend_on_how_many_are_drawn_together(assets):
    def draw(batch: int) -> list[bytes]:
        options = DatasetOptions(pictures=3, pool=3, scene=SMALL, batch=batch)
        pictures = PictureSource(assets, options).pictures(seed=5, shard=1)
        return [p.image.tobytes() for p, _ in pictures]

    assert draw(1) == draw(3)


def test_a_ground_before_a_photo_ends_and_people_stand_on_it(assets, people):
    options = replace(SMALL, room_share=0.0, photo_uses=("view",), people_shares=(0, 0, 1.0))
    scene = random_scene(assets, np.random.default_rng(8), people, options=options)
    assert scene.photo is not None
    assert scene.room is not None
    picture = Renderer(assets, supersampling=1)(scene)
    behind = picture.distance_m == FAR_M
    assert behind.any()
    floor = ~behind & (picture.owner == 0)
    assert floor.any()
    assert picture.distance_m[floor].max() < 3 * scene.room.reach_m
    feet = scene.points_m[:, [R["left_heel"], R["right_big_toe"]]]
    assert -feet[..., 2].min() < scene.room.reach_m


def test_hollows_get_less_light_and_slants_and_far_edges_keep_theirs():
    x = np.arange(160, dtype=np.float32)
    flat = np.full((100, 160), 3.0, np.float32)
    slant = flat + 0.01 * x
    corner = 3 + 0.01 * np.abs(x - 80)[None].repeat(100, 0)  # its edge nearest: no hollow
    hollow = 4 - 0.01 * np.abs(x - 80)[None].repeat(100, 0)
    step = np.where(x < 80, 2.0, 5.0)[None].repeat(100, 0).astype(np.float32)
    inner = (slice(30, 70), slice(40, 120))
    for surface in (flat, slant, corner.astype(np.float32), step):
        assert ambient_occlusion(surface, focal_px=150.0)[inner].min() > 0.97
    dark = ambient_occlusion(hollow.astype(np.float32), focal_px=150.0)
    assert dark[50, 80] < 0.9 < dark[50, 50]
    nothing = np.full((20, 20), FAR_M, np.float32)
    assert (ambient_occlusion(nothing, focal_px=150.0) == 1).all()


def test_a_camera_takes_the_same_picture_by_seed_and_blurs_only_the_background_when_told():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 96, 3), np.uint8)
    owner = np.zeros((64, 96), np.uint8)
    owner[16:48, 32:64] = 1
    one, two = (
        camera_noise(np.random.default_rng(3), image, owner=owner).tobytes() for _ in range(2)
    )
    assert one == two
    only = SensorOptions(defocus=1, moving_person=0, shake=0, soft=0, small=0, vignette=0, grey=0)
    sharp, blurred = [], []
    for seed in range(6):
        out = camera_noise(np.random.default_rng(seed), image, owner=owner, options=only)
        detail = np.abs(np.diff(out.astype(float), axis=1)).mean(2)
        sharp.append(detail[20:44, 36:60].mean())
        blurred.append(np.r_[detail[:12].ravel(), detail[52:].ravel()].mean())
    assert np.median(sharp) > 2 * np.median(blurred)


def _scene(
    assets: Assets, people: list[Person], poses: list[np.ndarray], places: list[np.ndarray]
) -> Scene:
    """People in a closed room, seen from 1.5 m height."""
    options = replace(SMALL, people_shares=(1.0,), room_share=1.0)
    empty = random_scene(assets, np.random.default_rng(6), [], options=options)
    matrices = np.stack([
        stand_on_floor(assets.body, p, pose, place_m=place)
        for p, pose, place in zip(people, poses, places, strict=True)
    ])  # fmt: skip
    view = stand(pinhole(128, 80, view_rad=1.0), height_m=1.3, pitch_rad=-0.1)
    room = replace(empty.room, low_m=np.array([-4, 0, -8.0]), high_m=np.array([4, 3.0, 2]))
    return replace(
        empty, people=tuple(people), matrices=matrices, furniture=None, view=view, room=room
    )


def test_the_command_writes_pictures_without_people_as_negatives(assets, monkeypatch, tmp_path):
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)
    flags = ["--data", str(PACK), "--out", str(tmp_path), "--pictures", "2", "--empty"]
    assert main(["images", *flags]) == 0
    examples = list(read_shard(tmp_path / "s1_000.npz"))
    assert [len(e.picture.labels.joints3d_m) for e in examples] == [0, 0]
    assert all(set(np.unique(e.picture.owner)) <= {0, FURNITURE} for e in examples)


def test_a_moving_camera_goes_with_a_crowd(assets, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)
    flags = ["--data", str(PACK), "--out", str(tmp_path / "c.mp4"), "--moving"]
    assert main(["clip", *flags]) == 2
    assert "--style crowd" in capsys.readouterr().err


def test_a_clip_that_is_interrupted_leaves_the_one_before(tmp_path):
    path = tmp_path / "c.mp4"
    path.write_bytes(b"old")

    def stopped():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        clips.write_clip(path, stopped())
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["c.mp4"]


def _facing(scene: Scene, camera_m: np.ndarray) -> np.ndarray:
    """(P,) cosine between where each head looks and the way to the camera."""
    left, right, nose = (camera_m[:, R[n]] for n in ("left_ear", "right_ear", "nose"))
    ahead, back = nose - (left + right) / 2, -(left + right) / 2
    return (ahead * back).sum(-1) / np.linalg.norm(ahead, axis=-1) / np.linalg.norm(back, axis=-1)


def test_faces_are_seen_from_the_front_and_not_through_the_head(assets):
    """A head is hardly deeper than the hands are long: eyes must not be seen on its back."""
    rng, draw = np.random.default_rng(5), Renderer(assets)
    pool = [random_person(assets, rng) for _ in range(8)]
    options = replace(SMALL, width_px=256, height_px=160, people_shares=(0.0, 0.5, 0.5))
    face = [R["nose"], R["left_eye"], R["right_eye"]]
    seen: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(60):
        scene = random_scene(assets, rng, pool, options=options)
        labels = draw(scene).labels
        facing = _facing(scene, labels.raw_m)
        away = faces_turned_away(labels.raw_m)
        for p, cosine in enumerate(facing):
            state = labels.raw_visibility[p, face]
            if (state == 0).any() or abs(cosine) < 0.6:
                continue
            seen[bool(cosine > 0)].append(float((state == 2).mean()))
            assert away[p, face].all() == (cosine < 0)
    assert min(len(seen[True]), len(seen[False])) > 8
    assert np.mean(seen[False]) < 0.15 < 0.6 < np.mean(seen[True])


def test_blur_of_motion_moves_nothing_against_its_label():
    rng = np.random.default_rng(0)
    for size in [*range(2, 12)] * 20:
        kernel = _streak(rng, size)
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        place = np.indices(kernel.shape).reshape(2, -1) @ kernel.ravel()
        np.testing.assert_allclose(place, (np.array(kernel.shape) - 1) / 2, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 3, 4])
def test_nobody_stands_frozen_or_vanishes_before_a_moving_camera(assets, seed):
    options = crowd.CrowdOptions(seconds=10, width_px=128, height_px=80, people=5, moving=True)
    before, there_before = None, None
    for scene in crowd.crowd_scenes(assets, seed, options):
        points = scene.points_m
        camera = scene.view.to_camera(points)
        pixels = scene.view.camera.project(np.where(camera[..., 2:] > 0.1, camera, (0, 0, -1.0)))
        inside = (camera[..., 2] > 0.1) & (pixels > 0).all(-1) & (pixels < (128, 80)).all(-1)
        there = inside.sum(1) > 4
        if before is not None:
            moved = np.linalg.norm(points - before, axis=-1)
            assert (moved[there & there_before].max(1, initial=1.0) > 0).all()
            assert moved[there | there_before].max(initial=0) < 0.6  # a hand in 1/30 s
        before, there_before = points, there


def test_who_waits_behind_the_camera_takes_no_shadow_from_the_others(assets, people):
    rng = np.random.default_rng(3)
    poses = [random_pose(assets, rng) for _ in range(2)]
    places = [np.array([x, 0, -3.0]) for x in (-0.6, 0.6)]
    scene = _scene(assets, people[:2], poses, places)
    far = scene.matrices.copy()
    far[1, ..., 2, 3] += 40
    alone, both = (
        replace(scene, people=scene.people[:1], matrices=scene.matrices[:1]),
        replace(scene, matrices=far),
    )
    draw = Renderer(assets)
    np.testing.assert_array_equal(draw(alone).image, draw(both).image)


@pytest.mark.parametrize("depths", [(3.0, -40.0, 1.5), (-40.0, -1.0, 5.0), (-2.0, 0.0, -3.0)])
def test_nobody_behind_the_camera_is_nearer_than_who_stands_before_it(depths):
    joints = np.zeros((3, 21, 3))
    joints[..., 2] = np.array(depths)[:, None]
    nothing = np.zeros((3, 0))
    ranks = Labels(nothing, nothing, nothing, joints, nothing, nothing, nothing).depth_order
    before = sorted((z, i) for i, z in enumerate(depths) if z > 0)
    assert sorted(ranks.tolist()) == [0, 1, 2]
    assert [ranks[i] for _, i in before] == list(range(len(before)))
