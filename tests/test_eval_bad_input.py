"""Missing or damaged data is one sentence, before anything is computed from it; exit status 2."""

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from xnect.errors import BadInput
from xnect.eval.__main__ import main
from xnect.eval.coco import read_coco
from xnect.eval.pck import read_lspet
from xnect.eval.pose2sim import check_videos
from xnect.eval.pose2sim_labels import FIELDS, load_pose2sim

NAMES = [f"{s}_{j}" for s in ("left", "right") for j in ("hip", "knee", "ankle", "shoulder")]


@pytest.fixture(autouse=True)
def no_inference(monkeypatch):
    """Every refusal comes before the network is even loaded."""

    def never(*words, **options):
        pytest.fail("the pipeline was loaded though the data is bad")

    monkeypatch.setattr("xnect.eval.__main__._pipeline", never)


def refused(words, capsys):
    """The one sentence that a command refuses with."""
    assert main([str(word) for word in words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    return line


# --- COCO -------------------------------------------------------------------------------------


def coco_labels():
    return {
        "images": [{"id": 1, "file_name": "1.jpg"}],
        "annotations": [{
            "id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 5000.0,
            "bbox": [20, 20, 60, 60], "num_keypoints": 17, "keypoints": [30.0, 30.0, 2.0] * 17,
        }],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip


def first(name, field, *value):
    """A change: a field of the first record is gone, or has another value."""

    def change(data):
        data[name][0].pop(field)
        if value:
            data[name][0][field] = value[0]

    return change


COCO = {
    "no annotations": (lambda d: d.pop("annotations"), "has no list 'annotations'"),
    "no categories": (lambda d: d.pop("categories"), "has no list 'categories'"),
    "no person": (first("categories", "id", 7), "people as category 1, it has 7"),
    "no iscrowd": (first("annotations", "iscrowd"), "annotations[0] has no field 'iscrowd'"),
    "no area": (first("annotations", "area"), "annotations[0] has no field 'area'"),
    "text area": (first("annotations", "area", "big"), "'area' must be a number, got \"big\""),
    "short": (first("annotations", "keypoints", [1, 2]), "a list of 51 numbers, got a list of 2"),
    "nan": (first("annotations", "keypoints", [float("nan")] * 51), "a list of 51 numbers"),
    "no bbox": (first("annotations", "bbox"), "has no field 'bbox'; a list of 4 numbers"),
    "no file_name": (first("images", "file_name"), "images[0] has no field 'file_name'"),
    "null": (lambda d: d.update(images=None), "'images' must be a list, got null"),
    "no object": (lambda d: d.update(images=[3]), "images[0] must be an object, got 3"),
    "no picture": (first("images", "file_name", "2.jpg"), "1 of 1 pictures are not in"),
}


@pytest.mark.parametrize("case", COCO)
def test_coco_labels_are_checked_before_inference(case, tmp_path, capsys):
    change, sentence = COCO[case]
    data = coco_labels()
    path = tmp_path / "labels.json"
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "labels" / "1.jpg"), np.zeros((100, 100, 3), np.uint8))
    path.write_text(json.dumps(data))
    assert read_coco(path) == data
    change(data)
    path.write_text(json.dumps(data))
    said = refused(["coco", path], capsys)
    assert sentence in said
    assert str(tmp_path) in said


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("[]", "holds a list of 0"), ("7", "holds 7"), ('{"images": [{', "cannot read")],
)
@pytest.mark.parametrize("command", ["coco", "lspet"])
def test_labels_that_are_no_object_are_refused(command, content, sentence, tmp_path, capsys):
    path = tmp_path / "dev.json"
    path.write_text(content)
    assert sentence in refused([command, path if command == "coco" else tmp_path], capsys)


# --- LSPET ------------------------------------------------------------------------------------


@pytest.fixture
def lspet(tmp_path):
    """A folder with one labelled picture in one archive; big enough to be cut in its middle."""
    picture = np.random.default_rng(0).integers(0, 255, (80, 60, 3), np.uint8)
    raw = cv2.imencode(".png", picture)[1].tobytes()
    with tarfile.open(tmp_path / "dev-000.tar", "w") as archive:
        member = tarfile.TarInfo("1.png")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    labels = {
        "images": [{"id": 1, "file_name": "1.png", "tar": "dev-000.tar"}],
        "annotations": [
            {"image_id": 1, "keypoints": [9.0] * 42, "bbox": [0, 0, 9, 9], "suspect": False}
        ],
    }
    (tmp_path / "dev.json").write_text(json.dumps(labels))
    assert read_lspet(tmp_path, "dev") == labels
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


ARCHIVES = {
    "missing": (Path.unlink, "does not exist"),
    "truncated": (cut, "is damaged; it must be a whole tar of pictures (unexpected end of data)"),
    "garbage": (lambda path: path.write_bytes(b"junk" * 300), "is damaged"),
    "empty": (lambda path: tarfile.open(path, "w").close(), "lacks 1 of the 1 pictures"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_of_lspet_are_checked_before_inference(case, lspet, capsys):
    change, sentence = ARCHIVES[case]
    change(lspet / "dev-000.tar")
    said = refused(["lspet", lspet], capsys)
    assert sentence in said
    assert "dev-000.tar" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (first("annotations", "keypoints"), "annotations[0] has no field 'keypoints'"),
        (first("annotations", "suspect"), "annotations[0] has no field 'suspect'"),
        (first("annotations", "image_id", 5), "annotations[0]: there is no image 5"),
        (first("images", "tar"), "images[0] has no field 'tar'; a text is expected"),
        (lambda d: d.pop("images"), "has no list 'images'; it has annotations"),
    ],
)
def test_labels_of_lspet_are_checked_before_inference(change, sentence, lspet, capsys):
    data = json.loads((lspet / "dev.json").read_text())
    change(data)
    (lspet / "dev.json").write_text(json.dumps(data))
    assert sentence in refused(["lspet", lspet], capsys)


# --- pose2sim ---------------------------------------------------------------------------------


def arrays():
    """Labels of two cameras, three frames, eight joints."""
    sizes = {"C": 2, "F": 3, "K": len(NAMES), "D": 4}
    kinds = {"fiu": np.float64, "iu": np.int64, "b": bool, "U": "U9"}
    made = {
        name: np.ones([sizes.get(s, s) for s in shape], kinds[kind])
        for name, (kind, shape) in FIELDS.items()
    }
    made["K"][:] = np.array([[100, 0, 16], [0, 100, 16], [0, 0, 1]])
    made["dist"][:] = 0
    made["R_world2cam"][:] = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # z is up
    made["t_world2cam_mm"][:] = (0, 2000, 0)  # 2 m above it
    made["image_size_wh"][:] = 32
    return made | {"joint_names": np.array(NAMES), "video_files": np.array(["a.mp4", "b.mp4"])}


def write_video(path, pictures):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(pictures):
            black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(black))
        container.mux(stream.encode())


@pytest.fixture
def pose2sim(tmp_path):
    np.savez(tmp_path / "labels.npz", **arrays())
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, 3)
    check_videos(load_pose2sim(tmp_path), tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", [b"", b"junk" * 9, None])
def test_damaged_labels_of_pose2sim_are_one_sentence(content, pose2sim, capsys):
    path = pose2sim / "labels.npz"
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    assert "labels.npz is damaged at its index" in refused(["pose2sim", pose2sim], capsys)


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field_of_pose2sim_is_named(name, pose2sim, capsys):
    np.savez(pose2sim / "labels.npz", **{k: v for k, v in arrays().items() if k != name})
    assert f"has no field {name!r}" in refused(["pose2sim", pose2sim], capsys)


def test_fields_of_pose2sim_have_one_number_of_cameras_frames_and_joints(pose2sim):
    for name, wrong in (
        ("K", np.ones((3, 3, 3))), ("joint_valid", np.ones((3, 5), bool)),
        ("joints2d_px", np.ones((2, 4, 8, 2))), ("dist", np.array([["x"] * 4] * 2)),
    ):  # fmt: skip
        np.savez(pose2sim / "labels.npz", **(arrays() | {name: wrong}))
        with pytest.raises(BadInput, match=f"'{name}' must be an array"):
            load_pose2sim(pose2sim)
    below = {"t_world2cam_mm": -arrays()["t_world2cam_mm"]}
    np.savez(pose2sim / "labels.npz", **(arrays() | below))
    with pytest.raises(BadInput, match=r"camera 0 above the floor: .* positive distance"):
        load_pose2sim(pose2sim)
    np.savez(pose2sim / "labels.npz", **(arrays() | {"joint_names": np.array(["hat"] * 8)}))
    with pytest.raises(BadInput, match="must hold left_ankle, left_hip"):
        load_pose2sim(pose2sim)


VIDEOS = {
    "missing": (Path.unlink, "there is no video"),
    "garbage": (lambda path: path.write_bytes(b"junk" * 99), "cannot be read after picture 0"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read after picture 0"),
    "short": (lambda path: write_video(path, 2), "has 2 pictures, the labels 3"),
}


@pytest.mark.parametrize("case", VIDEOS)
def test_videos_of_pose2sim_are_checked_before_inference(case, pose2sim, capsys):
    change, sentence = VIDEOS[case]
    change(pose2sim / "b.mp4")
    said = refused(["pose2sim", pose2sim], capsys)
    assert sentence in said
    assert "b.mp4" in said


# --- rendered shards --------------------------------------------------------------------------


@pytest.fixture
def shard():
    """The arrays of two pictures of one person each."""
    black = np.zeros((32, 48, 3), np.uint8)
    jpeg, mask = cv2.imencode(".jpg", black)[1].ravel(), cv2.imencode(".png", black[..., 0])[1]
    return {
        "jpeg": np.tile(jpeg, 2), "jpeg_len": np.full(2, len(jpeg)),
        "mask": np.tile(mask.ravel(), 2), "mask_len": np.full(2, mask.size),
        "person_offset": np.array([0, 1, 2]), "focal": np.full(2, 50.0), "stature": np.ones(2),
        "joints3d_m": np.ones((2, 21, 3)), "joints2d_px": np.ones((2, 18, 2)),
        "visibility2d": np.ones((2, 18), np.uint8), "joints_cam_m": np.ones((2, 29, 3)),
        "joints_px": np.ones((2, 29, 2)), "vis": np.ones((2, 29), np.uint8),
    }  # fmt: skip


def held_out(path, arrays, **changed):
    from xnect.eval.synth_pictures import held_out_set

    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return list(held_out_set(path))


SHARDS = {
    "no focal": ({"focal": None}, "has no field focal; give one that `python -m xnect.synth"),
    "no labels": ({"visibility2d": None, "vis": None}, "has no field visibility2d, vis"),
    "other people": ({"vis": np.ones((3, 29))}, "vis must be numbers (2, 29), got (3, 29)"),
    "texts": ({"focal": np.array(["a", "b"])}, "focal must be numbers (N), got (2,) of <U1"),
    "offsets": ({"person_offset": np.array([0, 1, 9])}, "person_offset must rise from 0 to 2"),
    "lengths": ({"jpeg_len": np.array([1, 2])}, "jpeg_len must sum up to"),
    "no JPEG": ({"mask": b""}, "picture 1"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_a_shard_is_checked_before_inference(case, shard, tmp_path, capsys):
    pytest.importorskip("numba", reason="rendering needs the extra 'train'")
    changed, sentence = SHARDS[case]
    path = tmp_path / "s1_000.npz"
    assert len(held_out(path, shard)) == 2
    if case == "no JPEG":  # the last one of the shard
        spoiled = shard["mask"].copy()
        spoiled[len(spoiled) // 2 :] = 0
        changed = {"mask": spoiled}
    with pytest.raises(BadInput):
        held_out(path, shard, **changed)
    said = refused(["synth", path], capsys)
    assert sentence in said
    assert str(path) in said


def test_a_truncated_shard_is_one_sentence(shard, tmp_path, capsys):
    pytest.importorskip("numba", reason="rendering needs the extra 'train'")
    path = tmp_path / "s1_000.npz"
    held_out(path, shard)
    path.write_bytes(path.read_bytes()[:3000])
    assert "is damaged at its index" in refused(["synth", path], capsys)


@pytest.mark.parametrize("split", ["training", "all"])
def test_a_shard_that_shows_training_people_is_no_held_out_set(split, shard, tmp_path, capsys):
    pytest.importorskip("numba", reason="rendering needs the extra 'train'")
    path = tmp_path / "s1_000.npz"
    said = {"made_json": np.array(json.dumps({"split": split, "seed": 1}))}
    with pytest.raises(BadInput, match=f"of the split '{split}'"):
        held_out(path, shard, **said)
    assert "--split held-out" in refused(["synth", path], capsys)
    said = {"made_json": np.array(json.dumps({"split": "held-out", "seed": 1}))}
    assert len(held_out(path, shard, **said)) == 2
    assert len(held_out(path, shard)) == 2  # an older one, which says nothing


# --- MATLAB -----------------------------------------------------------------------------------


def cell(value):
    out = np.empty((1, 1), object)
    out[0, 0] = value
    return out


def write_mupots(folder, occluded=None, **changed):
    person = {
        "annot2": np.ones((2, 17)), "annot3": np.ones((3, 17)), "univ_annot3": np.ones((3, 17)),
        "isValidFrame": 1.0,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    savemat(folder / "annot.mat", {"annotations": cell(person | changed)})
    labels = np.zeros((1, 17)) if occluded is None else occluded
    savemat(folder / "occlusion.mat", {"occlusion_labels": cell(labels)})


MATLAB = {
    "text": ({"annot2": "abc"}, "annot.mat, frame 1, person 1: annot2 must be numbers, got text"),
    "cell": ({"annot3": cell("x")}, "annot3 must be numbers, got a cell or struct"),
    "valid": ({"isValidFrame": "no"}, "isValidFrame must be numbers, got text"),
    "occlusion": ({"occluded": "abc"}, "occlusion.mat, frame 1, person 1: occlusion labels must"),
    "struct": ({"occluded": {"x": 1}}, "occlusion labels must be numbers, got a struct"),
}


@pytest.mark.parametrize("case", MATLAB)
def test_cells_of_mupots_that_hold_no_numbers_are_one_sentence(case, tmp_path, capsys):
    changed, sentence = MATLAB[case]
    write_mupots(tmp_path / "TS1", **changed)
    assert sentence in refused(["mupots", tmp_path, tmp_path], capsys)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("annot2", "abc", "annot2 must be numbers, got text"),
        ("valid_frame", "abc", "valid_frame must be numbers, got text"),
        ("activity_annotation", [1, np.nan, 1], "must be finite numbers, frame 2 is not"),
    ],
)
def test_variables_of_mpi3dhp_that_hold_no_numbers_are_one_sentence(
    name, value, sentence, tmp_path, capsys
):
    values = {
        "annot2": np.ones((2, 17, 1, 3)), "univ_annot3": np.ones((3, 17, 1, 3)),
        "activity_annotation": np.ones(3), "valid_frame": np.ones(3),
    }  # fmt: skip
    (tmp_path / "TS1").mkdir()
    savemat(
        tmp_path / "TS1" / "annot_data.mat",
        values | {name: [value] * 3 if value == "abc" and name == "valid_frame" else value},
    )
    assert sentence in refused(["mpi3dhp", tmp_path, tmp_path], capsys)
