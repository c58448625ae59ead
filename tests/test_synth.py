"""Laws of the synthetic people: what the labels say is what the picture shows."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.test_training_loop import full_disk
from xnect.errors import BadInput, CannotWrite, MissingExtra
from xnect.skeleton import BONE_PARENTS, J2D, J3D, JOINTS2D

pytest.importorskip("numba", reason="rendering needs the extra 'train'")

from xnect.synth import clip as clips
from xnect.synth import compile
from xnect.synth.__main__ import main
from xnect.synth.assets import N_BODY, Assets, load_assets
from xnect.synth.body import Person, random_person, world_points
from xnect.synth.camera import pinhole, stand
from xnect.synth.dataset import DatasetOptions, PictureSource
from xnect.synth.labels import (
    JOINTS2D_FROM_RAW,
    JOINTS3D_FROM_RAW,
    OUTSIDE,
    RAW,
    SEEN,
    R,
    visibility,
)
from xnect.synth.mesh import vertex_normals, yaw_matrix
from xnect.synth.motion import animate, lowest_m, random_pose, stand_on_floor
from xnect.synth.raster import skin
from xnect.synth.render import FURNITURE, Renderer
from xnect.synth.scene import Scene, SceneOptions, random_scene
from xnect.synth.shards import Made, made_otherwise, read_shard, split_of, write_shard
from xnect.train.datasets.renders import renders

PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "synth"
SMALL = SceneOptions(width_px=128, height_px=80, people_shares=(0.1, 0.3, 0.3, 0.3))
needs_pack = pytest.mark.skipif(not (PACK / "body.npz").exists(), reason=f"no asset pack in {PACK}")


@pytest.fixture(scope="module")
def people(assets: Assets) -> list[Person]:
    rng = np.random.default_rng(4)
    return [random_person(assets, rng) for _ in range(6)]


@pytest.fixture(scope="module")
def rooms(assets: Assets, people: list[Person]) -> list[Scene]:
    rng, options = np.random.default_rng(5), replace(SMALL, room_share=1.0)
    return [random_scene(assets, rng, people, options=options) for _ in range(12)]


@pytest.fixture(scope="module")
def renderer(assets: Assets) -> Renderer:
    return Renderer(assets, supersampling=1)


@pytest.fixture(scope="module")
def source(assets: Assets) -> PictureSource:
    return PictureSource(assets, DatasetOptions(pictures=5, pool=4, scene=SMALL))


def test_without_numba_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtra, match=r"pip install 'xnect\[train\]'"):
        importlib.reload(compile)


def test_every_named_joint_is_a_weighted_mean_of_raw_points():
    for weights in (JOINTS2D_FROM_RAW, JOINTS3D_FROM_RAW):
        np.testing.assert_allclose(weights.sum(1), 1)
    raw = np.random.default_rng(0).normal(size=(len(RAW), 3))
    wrist, tip = raw[R["left_wrist"]], raw[R["left_hand"]]
    hand = (JOINTS3D_FROM_RAW @ raw)[J3D["left_hand"]]
    np.testing.assert_allclose(hand - wrist, 2.6 * (tip - wrist))
    neck = (JOINTS2D_FROM_RAW @ raw)[J2D["neck"]]
    np.testing.assert_allclose(neck, (raw[R["left_shoulder"]] + raw[R["right_shoulder"]]) / 2)


def test_a_joint_is_seen_only_where_its_own_surface_is_near():
    owner = np.array([[1, 1, 1, 2, 2, 2]] * 3, np.uint8)
    distance = np.full((3, 6), 3.0, np.float32)
    raw_m = np.tile([0, 0, 3.1], (1, len(RAW), 1))
    raw_px = np.tile([0.4, 1], (1, len(RAW), 1))
    raw_px[0, 1], raw_px[0, 2], raw_m[0, 3, 2] = (5, 1), (-2, 1), 3.5
    state = visibility(raw_m, raw_px, owner=owner, distance_m=distance)[0]
    assert state[0] == SEEN
    assert state[1] == 1  # another person is in front of it
    assert state[2] == OUTSIDE
    assert state[3] == 1  # 50 cm behind the surface


def test_the_view_puts_its_axis_on_the_centre_of_the_picture():
    view = stand(pinhole(128, 80, view_rad=1.0), height_m=1.5, pitch_rad=-0.2, roll_rad=0.1)
    np.testing.assert_allclose(np.linalg.det(view.camera_from_world), 1)
    ahead = view.position_m + 4 * np.array([0, np.sin(-0.2), -np.cos(-0.2)])
    np.testing.assert_allclose(view.camera.project(view.to_camera(ahead)), [63.5, 39.5])
    edge = view.camera.rays(np.array([127.5, 39.5]))[0]
    np.testing.assert_allclose(np.arctan(edge), 0.5)


def test_skinning_equals_the_weighted_sum_of_rigid_motions(assets, people):
    person, mesh = people[0], people[0].mesh
    matrices = stand_on_floor(
        assets.body, person, random_pose(assets, np.random.default_rng(1)), place_m=np.zeros(3)
    )
    position, normal = np.empty_like(mesh.position_m), np.empty_like(mesh.normal)
    skin(mesh.position_m, mesh.normal, mesh.bone, mesh.weight, matrices.astype(np.float32),
         position, normal)  # fmt: skip
    for i in range(0, len(position), 997):
        point = np.append(mesh.position_m[i], 1)
        slow = sum(
            w * matrices[b] @ point for b, w in zip(mesh.bone[i], mesh.weight[i], strict=True)
        )
        np.testing.assert_allclose(position[i], slow, atol=1e-5)


def test_normals_of_the_body_point_outwards(assets):
    body = assets.body
    mesh = body.surfaces["body"]
    vertices = body.mean_m[:N_BODY]
    normal = vertex_normals(vertices, mesh.vertex[mesh.triangles])
    torso = (np.abs(vertices[:, 1] - 0.2) < 0.1) & (np.abs(vertices[:, 0]) < 0.15)
    axis = vertices[torso][:, [0, 2]].mean(0)
    outwards = ((vertices[torso][:, [0, 2]] - axis) * normal[torso][:, [0, 2]]).sum(1)
    assert (outwards > 0).mean() > 0.8


def test_people_have_human_size_and_all_their_weight(people):
    for person in people:
        assert 1.0 <= person.stature_m <= 2.02
        assert 0.4 < person.leg_length_m / person.stature_m < 0.55
        np.testing.assert_allclose(person.mesh.weight.sum(1), 1, atol=1e-2)


def test_nobody_stands_below_or_above_the_floor(assets, people):
    rng = np.random.default_rng(2)
    for person in people:
        pose, place = random_pose(assets, rng), rng.normal(size=3) * (1, 0, 1)
        matrices = stand_on_floor(assets.body, person, pose, place_m=place)
        assert abs(lowest_m(person, matrices[None], step=1)[0]) < 0.01


def test_bones_keep_their_lengths_and_motion_stays_on_the_floor_over_a_clip(assets, people):
    person, motion = people[1], assets.motion
    clip = clips.clips_of(motion, clips.WALKS, frames=60)[0]
    frames = motion.start[clip] + np.arange(60)
    matrices = animate(
        assets, person, frames, turn=yaw_matrix(1.0), place_m=np.array([1.0, 0, -4]), mirror=True
    )
    joints = JOINTS3D_FROM_RAW @ world_points(person, matrices)
    length = np.linalg.norm(joints - joints[:, list(BONE_PARENTS)], axis=-1)
    assert np.ptp(length, axis=0).max() < 0.004  # the middle of the hips and ears moves a little
    assert np.abs(lowest_m(person, matrices)).max() < 0.06
    speed = np.linalg.norm(np.diff(joints[:, J3D["pelvis"]], axis=0), axis=-1) * 30
    assert 0.2 < speed.mean() < 2.5
    assert np.allclose(joints[0, J3D["pelvis"], [0, 2]], [1, -4], atol=0.03)


def test_seen_joints_lie_on_the_person_they_belong_to(rooms, renderer):
    checked = 0
    for scene in rooms:
        picture = renderer(scene)
        labels = picture.labels
        for person, (pixels, seen) in enumerate(
            zip(labels.joints2d_px, labels.visibility, strict=True), 1
        ):
            for name in ("nose", "left_elbow", "right_elbow", "left_knee", "right_knee"):
                if seen[J2D[name]] == SEEN:
                    x, y = np.rint(pixels[J2D[name]]).astype(int)
                    window = picture.owner[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
                    assert person in window
                    checked += 1
    assert checked > 30


def test_labels_are_the_projection_of_the_3d_joints(rooms, renderer):
    for scene in rooms[:6]:
        labels, camera = renderer(scene).labels, scene.view.camera
        for name in JOINTS2D:
            if name in J3D and name != "neck":
                expected = camera.project(labels.joints3d_m[:, J3D[name]])
                np.testing.assert_allclose(labels.joints2d_px[:, J2D[name]], expected, atol=1e-6)


def test_distances_of_the_floor_obey_the_camera(rooms, renderer):
    scene = rooms[0]
    picture, view = renderer(scene), scene.view
    camera = view.camera
    checked = 0
    for y, x in np.ndindex(camera.height_px, camera.width_px):
        if picture.owner[y, x] == 0:
            slope = np.append(camera.rays(np.array([x, y], float)), 1)
            ray = slope @ view.camera_from_world
            point = view.position_m + ray / np.linalg.norm(ray) * picture.distance_m[y, x]
            inside = (point >= scene.room.low_m - 1e-3) & (point <= scene.room.high_m + 1e-3)
            assert inside.all()
            on_wall = np.minimum(point - scene.room.low_m, scene.room.high_m - point).min()
            assert abs(on_wall) < 1e-2
            checked += 1
    assert checked > 1000


def test_a_scene_without_people_has_empty_labels(assets, renderer):
    alone = replace(SMALL, people_shares=(1.0,), room_share=1.0)
    scene = random_scene(assets, np.random.default_rng(3), [], options=alone)
    picture = renderer(scene)
    assert picture.labels.joints3d_m.shape == (0, 21, 3)
    assert picture.labels.joints2d_px.shape == (0, 18, 2)
    assert picture.labels.visibility.shape == (0, 18)
    assert set(np.unique(picture.owner)) <= {0, FURNITURE}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(source):
    def draw(seed: int) -> list[bytes]:
        return [p.image.tobytes() for p, _ in source.pictures(seed=seed, shard=3)]

    first = draw(1)
    assert first == draw(1)
    assert all(a != b for a, b in zip(first, draw(2), strict=True))


def test_a_shard_gives_back_what_was_written(source, tmp_path):
    written = list(source.pictures(seed=6, shard=0))
    path = tmp_path / "s6_000.npz"
    assert write_shard(path, written) == len(written)
    assert list(tmp_path.iterdir()) == [path]
    for example, (picture, scene) in zip(read_shard(path), written, strict=True):
        np.testing.assert_array_equal(example.picture.owner, picture.owner)
        np.testing.assert_allclose(example.picture.image, picture.image, atol=90)
        got, labels = example.picture.labels, picture.labels
        np.testing.assert_array_equal(got.visibility, labels.visibility)
        np.testing.assert_array_equal(got.raw_visibility, labels.raw_visibility)
        np.testing.assert_allclose(got.joints3d_m, labels.joints3d_m, atol=1e-5)
        np.testing.assert_allclose(got.joints2d_px, labels.joints2d_px, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(got.raw_px, labels.raw_px, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(example.stature_m, [p.stature_m for p in scene.people])
        np.testing.assert_allclose(
            example.camera.project(got.joints3d_m[:, J3D["left_knee"]]),
            got.joints2d_px[:, J2D["left_knee"]],
            rtol=1e-4, atol=1e-2,
        )  # fmt: skip


def test_walkers_of_a_clip_cross_and_keep_apart(assets):
    options = clips.ClipOptions(seconds=2.0, width_px=128, height_px=80, proposals=25)
    scenes = list(clips.clip_scenes(assets, 3, options))
    assert len(scenes) == 60
    pelvis = np.stack([s.points_m[:, [R["left_hip"], R["right_hip"]]].mean(1) for s in scenes])
    view = scenes[0].view
    column = view.camera.project(view.to_camera(pelvis))[..., 0]
    assert (column > 0).all()
    assert (column < 128).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.hypot(*(pelvis[:, a] - pelvis[:, b])[:, [0, 2]].T).min() > 0.6
    assert scenes[0].photo is None


@needs_pack
def test_the_command_writes_a_clip_that_plays_and_its_truth(assets, monkeypatch, tmp_path):
    import av

    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)  # saves seconds
    out = tmp_path / "clip.mp4"
    flags = ["--data", str(PACK), "--out", str(out), "--seed", "3", "--seconds", "0.2"]
    assert main(["clip", *flags, "--width", "128", "--height", "80", "--people", "2"]) == 0
    with av.open(str(out)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert [f.shape for f in frames] == [(80, 128, 3)] * 6
    with np.load(tmp_path / "clip_truth.npz") as truth:
        assert truth["joints3d_m"].shape == (6, 2, 21, 3)
        assert truth["joints2d_px"].shape == (6, 2, 18, 2)
        assert truth["visibility"].shape == (6, 2, 18)


def test_the_command_writes_shards_once_and_leaves_those_that_are_there(
    assets, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)
    flags = ["--data", str(PACK), "--out", str(tmp_path), "--seed", "2", "--pictures", "1"]
    assert main(["images", *flags, "--first", "1"]) == 0
    first = (tmp_path / "s2_001.npz").read_bytes()
    assert "1 shards of 1 pictures are in" in capsys.readouterr().out
    assert main(["images", *flags, "--shards", "2", "--first", "1", "--batch", "3"]) == 0
    assert (tmp_path / "s2_001.npz").read_bytes() == first
    (example,) = read_shard(tmp_path / "s2_002.npz")
    assert example.picture.image.shape == (320, 512, 3)
    assert f"2 shards of 1 pictures are in {tmp_path}, 1 of them from before" in (
        capsys.readouterr().out
    )


def test_a_shard_made_with_other_options_is_refused_and_stays(
    source, assets, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)
    flags = ["images", "--data", str(PACK), "--out", str(tmp_path)]
    assert main([*flags, "--pictures", "2", "--split", "training"]) == 0
    path = tmp_path / "s1_000.npz"
    assert split_of(path) == "training"
    before = path.read_bytes()
    monkeypatch.setattr(PictureSource, "pictures", lambda *a, **k: pytest.fail("it was drawn"))
    capsys.readouterr()
    assert main([*flags, "--pictures", "2", "--split", "held-out"]) == 2
    assert "(split is 'training' there, 'held-out' here)" in capsys.readouterr().err
    assert main([*flags, "--pictures", "5", "--empty", "--shards", "2"]) == 2
    said = capsys.readouterr().err
    assert "pictures is 2 there, 5 here; " in said
    assert "people_shares is [0.02, " in said
    assert f"{path} exists and was made with other options" in said
    path.write_bytes(before[:3000])
    assert main([*flags, "--pictures", "2"]) == 2
    assert "is damaged at its index" in capsys.readouterr().err
    path.write_bytes(before)
    assert main([*flags, "--pictures", "2"]) == 0
    assert path.read_bytes() == before


def test_an_older_shard_that_does_not_say_how_it_was_made_is_told_by_its_pictures(source, tmp_path):
    path = tmp_path / "s1_000.npz"
    write_shard(path, source.pictures(seed=1, shard=0))
    assert split_of(path) is None
    made = Made("held-out", 1, 0, DatasetOptions(pictures=5))
    assert made_otherwise(path, made) == []
    fewer = replace(made, options=DatasetOptions(pictures=4))
    assert made_otherwise(path, fewer) == ["pictures is 5 there, 4 here"]
    write_shard(path, source.pictures(seed=1, shard=0), made=made)
    assert made_otherwise(path, made) == []
    assert made_otherwise(path, replace(made, seed=2)) == ["seed is 1 there, 2 here"]
    assert len(list(renders(path))) == 5  # what trains on it does not mind


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sheet", "--out", "sheet"], "a sheet is a picture, --out ends in .png"),
        (["sheet", "--out", "sheet.mp4"], "a sheet is a picture"),
        (["clip", "--out", "clip.xyz"], "a clip is a video file, --out ends in .mp4"),
        (["clip", "--out", "clip"], "a clip is a video file"),
        (["sheet", "--backend", "torch", "--device", "foo"], "unknown device 'foo'; known: auto"),
        (["images", "--device", "cuda:99"], "unknown device 'cuda:99'"),
        (["images", "--backend", "torch", "--device", "mps"], "device 'mps' is not available"),
    ],
)
def test_what_cannot_be_written_or_used_is_refused_before_it_is_drawn(
    words, sentence, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda _: pytest.fail("it was read"))
    assert main([*words, "--data", str(PACK)]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_sheet_with_and_without_labels(assets, monkeypatch, tmp_path):
    monkeypatch.setattr("xnect.synth.__main__.load_assets", lambda folder: assets)
    out = tmp_path / "sheet.png"
    flags = ["--data", str(PACK), "--out", str(out), "--seed", "1"]
    assert main(["sheet", *flags, "--rows", "1", "--columns", "2"]) == 0
    plain, marked = cv2.imread(str(out)), cv2.imread(str(tmp_path / "sheet_labels.png"))
    assert plain.shape == marked.shape == (320, 1024, 3)
    assert (plain != marked).any()


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("clip", "--width", "127"),
        ("clip", "--people", "1"),
        ("clip", "--seconds", "nan"),
        ("images", "--pictures", "0"),
        ("sheet", "--seed", "-1"),
    ],
)
def test_a_flag_out_of_range_is_refused_with_the_value(command, flag, value, capsys):
    with pytest.raises(SystemExit):
        main([command, "--data", str(PACK), f"{flag}={value}"])
    assert repr(value) in capsys.readouterr().err


def test_a_damaged_pack_is_one_sentence(tmp_path):
    for name in ("body.npz", "clothes.npz", "clothes.json", "motion.npz", "textures.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(BadInput, match="damaged or incomplete"):
        load_assets(tmp_path)


def test_a_folder_that_is_no_pack_is_one_sentence(tmp_path, capsys):
    with pytest.raises(BadInput, match=r"body\.npz is missing"):
        load_assets(tmp_path)
    assert main(["sheet", "--data", str(tmp_path), "--out", str(tmp_path / "s.png")]) == 2
    assert "is no asset pack" in capsys.readouterr().err


@needs_pack
def test_a_clip_of_one_person_is_refused(assets):
    with pytest.raises(BadInput, match="2 people"):
        next(clips.clip_scenes(assets, 1, clips.ClipOptions(people=1)))


def test_the_truth_of_the_bundled_clip_is_consistent_with_its_camera():
    path = Path(__file__).resolve().parents[1] / "demo" / "demo_truth.npz"
    with np.load(path) as truth:
        joints, pixels = truth["joints3d_m"], truth["joints2d_px"]
        centre = np.array([truth["cx_px"], truth["cy_px"]])
        elbow = joints[:, :, J3D["left_elbow"]]
        projected = elbow[..., :2] / elbow[..., 2:] * truth["focal_px"] + centre
        np.testing.assert_allclose(projected, pixels[:, :, J2D["left_elbow"]], atol=0.01)
        assert joints.shape[0] == pixels.shape[0] == 150
        length = np.linalg.norm(joints - joints[:, :, list(BONE_PARENTS)], axis=-1)
        assert np.ptp(length, axis=0).max() < 0.004
    assert path.with_name("demo.mp4").stat().st_size < 2_000_000


@needs_pack
def test_a_full_disk_is_one_sentence_and_leaves_the_shard_before(source, tmp_path):
    path = tmp_path / "s.npz"
    write_shard(path, source.pictures(seed=1, shard=0))
    before = path.read_bytes()
    with full_disk(2000), pytest.raises(CannotWrite, match=r"cannot write .*s\.npz: "):
        write_shard(path, source.pictures(seed=2, shard=0))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.npz"]


@pytest.mark.parametrize("seconds", ["0.02", "3600", "nan", "long"])
def test_a_length_out_of_range_is_told_the_range(seconds, capsys):
    with pytest.raises(SystemExit):
        main(["clip", "--data", "nowhere", "--seconds", seconds])
    assert f"give seconds from 1/30 to below 3600, not '{seconds}'" in capsys.readouterr().err


def test_the_folder_of_a_sheet_is_made_before_its_pictures(tmp_path, capsys):
    out = tmp_path / "a" / "b" / "s.png"
    assert main(["sheet", "--data", str(tmp_path / "no pack"), "--out", str(out)]) == 2
    assert out.parent.is_dir()
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "s.png"
    capsys.readouterr()
    assert main(["sheet", "--data", str(tmp_path / "no pack"), "--out", str(out)]) == 2
    assert f"cannot write {out}: " in capsys.readouterr().err
