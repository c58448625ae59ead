"""Readers of public data sets, on small files of their formats that the tests write."""

import io
import json
import logging
import tarfile

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from xnect.errors import BadInput
from xnect.skeleton import (
    BODY,
    J2D,
    J3D,
    JOINTS2D,
    JOINTS3D,
    LSP14,
    REFERENCE_CHAIN_M,
    ROOT,
    chain_m,
)
from xnect.synth.split import EVERY_PHOTO, every
from xnect.train.augment import AugmentOptions
from xnect.train.batches import collate
from xnect.train.datasets.coco import coco, joints18_from_coco17
from xnect.train.datasets.h36m import JOINTS17, h36m
from xnect.train.datasets.lspet import lspet
from xnect.train.datasets.mpi3dhp import JOINTS28, moving_frames, mpi3dhp
from xnect.train.datasets.muco import muco
from xnect.train.datasets.posed import posed_sample
from xnect.train.datasets.renders import RAW29, renders
from xnect.train.pack import OtherSets, main, negatives, pack, training_photos
from xnect.train.samples import ABSENT, HIDDEN, SEEN, UNKNOWN, Shards, read_shard, write_shard
from xnect.train.targets import make_targets

SIDE = 128
FOCAL = 150.0
SHARED_NAMES = [n for n in JOINTS2D if n in J3D and n != "neck"]
FACE = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]


def named_person(at_mm=(0, 0, 3000), seed=0):
    """Name -> (3,) mm in camera axes: the body at rest with every joint a little elsewhere."""
    rng = np.random.default_rng(seed)
    place = np.zeros((len(JOINTS3D), 3))
    for j in BODY.order:
        if j != ROOT:
            place[j] = place[BODY.parents[j]] + BODY.offsets_m[j]
    place = 1000 * place * (1, -1, -1) + rng.normal(0, 15, place.shape) + at_mm  # seen from before
    return {name: place[J3D[name]] for name in JOINTS3D}


def beside(person, x_mm):
    return {name: np.add(place, (x_mm, 0, 0)) for name, place in person.items()}


def project(point_mm):
    return FOCAL * point_mm[:2] / point_mm[2] + SIDE / 2


def expected(person):
    """(21, 3) m about the pelvis at reference size."""
    pose = np.stack([person[n] for n in JOINTS3D]) / 1000
    pose = pose - pose[ROOT]
    return pose * REFERENCE_CHAIN_M / chain_m(pose)


def write_picture(path, side=SIDE, shade=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((side, side, 3), shade, np.uint8))


def assert_is(sample, person, index=0, names3d=JOINTS3D):
    """Every joint of the sample is the one of that name."""
    for name in SHARED_NAMES:
        pixel = project(person[name])
        inside = (pixel > -0.5).all() and (pixel < SIDE - 0.5).all()
        assert (sample.state[index, J2D[name]] == SEEN) == inside, name
        np.testing.assert_allclose(sample.joints_px[index, J2D[name]], pixel, atol=1e-6)
    shoulders = [project(person[f"{side}_shoulder"]) for side in ("left", "right")]
    np.testing.assert_allclose(sample.joints_px[index, J2D["neck"]], np.mean(shoulders, 0))
    assert all(sample.state[index, J2D[name]] == UNKNOWN for name in FACE)
    pose = sample.joints3d_m[index] - sample.joints3d_m[index, ROOT]
    for name in names3d:
        np.testing.assert_allclose(pose[J3D[name]], expected(person)[J3D[name]], atol=1e-6)
        assert sample.joints3d_weight[index, J3D[name]] > 0


# MuCo-3DHP


def muco_person(number, image, person, **more):
    order = list(JOINTS3D)  # head_top, thorax, R_Shoulder ... L_Toe: spec 7.3
    return {
        "id": number,
        "image_id": image,
        "keypoints_img": [project(person[n]).tolist() for n in order],
        "keypoints_cam": [person[n].tolist() for n in order],
        **more,
    }


def write_muco(root, people, names=("unaugmented_set/0/a.jpg",)):
    for name in names:
        write_picture(root / name)
    images = [
        {"id": i, "file_name": name, "width": SIDE, "height": SIDE} for i, name in enumerate(names)
    ]
    file = root / "MuCo-3DHP.json"
    file.write_text(json.dumps({"images": images, "annotations": people}))
    return file


def test_muco_people_come_out_by_name_and_by_depth(tmp_path):
    far, near = named_person((300, 0, 4500)), named_person((-200, 0, 3000), seed=1)
    file = write_muco(tmp_path, [muco_person(0, 0, far), muco_person(1, 0, near)])
    (sample,) = muco(file, tmp_path)
    assert_is(sample, far, 0)
    assert_is(sample, near, 1)
    assert sample.depth_m[1] < sample.depth_m[0]
    assert sample.outside_weight == 1 and not len(sample.ignore_xyxy)


def test_muco_hidden_joints_are_located_only_next_to_seen_ones(tmp_path):
    person = named_person()
    visible = [n not in ("left_elbow", "left_wrist") for n in JOINTS3D]
    file = write_muco(tmp_path, [muco_person(0, 0, person, keypoints_vis=visible)])
    (sample,) = muco(file, tmp_path)
    assert sample.state[0, J2D["left_elbow"]] == HIDDEN
    assert sample.state[0, J2D["left_wrist"]] == UNKNOWN


def test_muco_photographs_behind_people_are_hardly_background(tmp_path):
    file = write_muco(tmp_path, [], ["augmented_set/0/a.jpg"])
    (sample,) = muco(file, tmp_path)
    assert 0 < sample.outside_weight < 0.5 and not len(sample.state)


def test_muco_leaves_out_what_is_damaged_and_names_it(tmp_path, caplog):
    person = named_person()
    short = muco_person(7, 1, person)
    short["keypoints_cam"] = short["keypoints_cam"][:20]
    names = ("unaugmented_set/a.jpg", "unaugmented_set/b.jpg", "unaugmented_set/c.jpg")
    file = write_muco(tmp_path, [muco_person(0, 0, person), short], names)
    (tmp_path / names[2]).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        (sample,) = muco(file, tmp_path)
    assert_is(sample, person)
    assert "annotation 7: keypoints_cam must hold (21, 3)" in caplog.text
    assert "cannot decode" in caplog.text and "c.jpg" in caplog.text
    file.write_text('{"images": [],\n "annotations": [}')
    with pytest.raises(BadInput, match=r"MuCo-3DHP.json is not whole JSON: line 2, column 18"):
        next(muco(file, tmp_path))


# MPI-INF-3DHP


def row28(person, of):
    """A row of annot.mat: 28 joints, of which the set's other seven lie anywhere."""
    ours = {n.replace("foot", "toe"): p for n, p in person.items()}
    return np.concatenate([of(ours.get(n, np.array([50.0, 60, 2500]))) for n in JOINTS28])


def write_3dhp(folder, people, cameras=2):
    folder.mkdir(parents=True)
    annot2, annot3 = (np.empty((cameras, 1), object) for _ in range(2))
    for camera in range(cameras):
        moved = [beside(q, 100.0 * camera) for q in people]
        annot2[camera, 0] = np.stack([row28(q, project) for q in moved])
        annot3[camera, 0] = np.stack([row28(q, lambda p: p) for q in moved])
    savemat(folder / "annot.mat", {"annot2": annot2, "annot3": annot3})


def test_mpi3dhp_comes_out_by_name_from_frames_and_from_videos(tmp_path):
    import av

    people = [named_person(), named_person(seed=1), named_person((0, 250, 3000))]
    folder = tmp_path / "S1" / "Seq2"
    write_3dhp(folder, people)
    for frame in range(3):
        write_picture(folder / "imageFrames/video_0" / f"frame_{frame + 1:06d}.jpg")
    (folder / "imageSequence").mkdir()
    with av.open(str(folder / "imageSequence/video_1.avi"), "w") as video:
        stream = video.add_stream("mpeg4", rate=25)
        stream.width = stream.height = SIDE
        for frame in range(2):  # the video ends before the labels do
            picture = np.full((SIDE, SIDE, 3), 40 + 80 * frame, np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        video.mux(stream.encode())
    samples = list(mpi3dhp(tmp_path, cameras=(0, 1), moved_mm=0))
    assert len(samples) == 3 + 2
    for sample, person in zip(samples, people, strict=False):
        assert_is(sample, person)
    for sample, person, shade in zip(samples[3:], people, (40, 120), strict=False):
        assert_is(sample, beside(person, 100.0))
        assert abs(sample.image.mean() - shade) < 6


def test_only_frames_in_which_somebody_moved_are_taken():
    pose = np.zeros((6, 21, 3))
    pose[:, 4, 0] = (0, 100, 180, 200, 400, 400)
    assert moving_frames(pose, 175).tolist() == [0, 2, 4]
    assert moving_frames(np.zeros((0, 21, 3))).tolist() == []


def test_mpi3dhp_leaves_out_what_is_damaged_and_names_it(tmp_path, caplog):
    with pytest.raises(BadInput, match="holds none of the folders S1/Seq1"):
        next(mpi3dhp(tmp_path))
    person = named_person()
    write_3dhp(tmp_path / "S1/Seq1", [person], cameras=2)
    write_picture(tmp_path / "S1/Seq1/imageFrames/video_1/frame_000001.jpg")
    (tmp_path / "S2/Seq1").mkdir(parents=True)
    (tmp_path / "S2/Seq1/annot.mat").write_bytes(b"MATLAB 5.0 and then nothing")
    (tmp_path / "S3/Seq1").mkdir(parents=True)
    rows = np.empty((1, 1), object)
    rows[0, 0] = np.zeros((2, 34))
    savemat(tmp_path / "S3/Seq1/annot.mat", {"annot2": rows, "annot3": rows})
    with caplog.at_level(logging.WARNING):
        (sample,) = mpi3dhp(tmp_path, cameras=(0, 1))
    assert_is(sample, beside(person, 100.0))
    assert "cannot read the video" in caplog.text and "video_0.avi" in caplog.text
    assert "S2/Seq1" in caplog.text
    assert "annot2 of camera 0 must be (frames, 56), got (2, 34)" in caplog.text


# Human3.6M


def write_h36m(root, person, frames=(0, 5), missing=()):
    rotation = cv2.Rodrigues(np.array([0.3, -0.5, 0.2]))[0]
    shift = np.array([40.0, -20, 700])
    middle = (person["left_hip"] + person["right_hip"]) / 2
    extra = {"torso": middle, "thorax": middle, "nose": person["head_top"] + (0, 90.0, 0)}
    seventeen = np.stack([{**person, **extra}[n] for n in JOINTS17])
    world = (seventeen - shift) @ rotation  # camera = R world + t
    start = root / "annotations"
    start.mkdir()
    images = []
    for frame in frames:
        name = f"s_01_act_02_subact_01_ca_03/s_01_act_02_subact_01_ca_03_{frame + 1:06d}.jpg"
        if frame not in missing:
            write_picture(root / name)
        images.append(
            {"id": frame, "file_name": name, "subject": 1, "action_idx": 2, "subaction_idx": 1,
             "cam_idx": 3, "frame_idx": frame}
        )  # fmt: skip
    files = {
        "data": {"images": images, "annotations": []},
        "joint_3d": {"2": {"1": {str(f): world.tolist() for f in frames}}},
        "camera": {
            "3": {
                "R": rotation.tolist(),
                "t": shift.tolist(),
                "f": [FOCAL] * 2,
                "c": [SIDE / 2] * 2,
            }
        },
    }
    for name, content in files.items():
        (start / f"Human36M_subject1_{name}.json").write_text(json.dumps(content))
    return start


def test_h36m_comes_out_by_name_in_camera_axes(tmp_path):
    person = named_person()
    hips = (person["left_hip"] + person["right_hip"]) / 2
    shoulders = (person["left_shoulder"] + person["right_shoulder"]) / 2
    person["pelvis"] = hips
    person["spine"] = hips + 0.80 * (shoulders - hips)  # where the reader puts them
    person["neck"] = hips + 1.18 * (shoulders - hips)
    start = write_h36m(tmp_path, person, frames=(0, 3, 5))
    samples = list(h36m(start, tmp_path))
    assert len(samples) == 2
    known = [n for n in JOINTS3D if not n.endswith(("hand", "foot")) and n != "head"]
    for sample in samples:
        assert_is(sample, person, names3d=known)
        unknown = [J3D[n] for n in JOINTS3D if n not in known]
        assert (sample.joints3d_weight[0, unknown] == 0).all()
        assert np.isfinite(sample.joints3d_m).all()


def test_h36m_leaves_out_what_is_damaged_and_names_it(tmp_path, caplog):
    with pytest.raises(BadInput, match="holds no Human36M_subject"):
        next(h36m(tmp_path, tmp_path))
    start = write_h36m(tmp_path, named_person(), frames=(0, 5, 10), missing=(5,))
    poses = json.loads((start / "Human36M_subject1_joint_3d.json").read_text())
    del poses["2"]["1"]["10"]
    (start / "Human36M_subject1_joint_3d.json").write_text(json.dumps(poses))
    with caplog.at_level(logging.WARNING):
        assert len(list(h36m(start, tmp_path))) == 1
    assert "there is no picture" in caplog.text
    assert "action 2, subaction 1: no field '10'" in caplog.text


# what holds for all of them


def test_a_person_without_joints_is_masked_and_not_background():
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    person = named_person()
    pixels = np.stack([project(person[n]) for n in JOINTS3D])
    pose = np.stack([person[n] for n in JOINTS3D])
    blind = np.full_like(pixels, np.nan)
    blind[[J3D["head_top"], J3D["left_foot"]]] = pixels[[J3D["head_top"], J3D["left_foot"]]]
    sample = posed_sample(image, np.stack([pixels, blind]), np.stack([pose, pose]))
    assert len(sample.state) == 1 and len(sample.ignore_xyxy) == 1
    low, high = sample.ignore_xyxy[0, :2], sample.ignore_xyxy[0, 2:]
    assert (low < pixels[J3D["head_top"]]).all() or (high > pixels[J3D["head_top"]]).any()
    alone = posed_sample(image, blind[None], pose[None])
    weight = make_targets(collate([alone], AugmentOptions(crop_px=SIDE))).heatmap_weight
    assert (weight == 0).any() and (weight == 1).any()


def test_joints_outside_the_picture_are_absent_and_nan_teaches_nothing():
    person = named_person()
    pixels = np.stack([project(person[n]) for n in JOINTS3D])
    pose = np.stack([person[n] for n in JOINTS3D])
    pixels[J3D["left_ankle"]] = (SIDE + 30, 60)
    pixels[J3D["right_wrist"]] = np.nan
    pose[J3D["right_elbow"]] = np.nan
    sample = posed_sample(np.zeros((SIDE, SIDE, 3), np.uint8), pixels[None], pose[None])
    assert sample.state[0, J2D["left_ankle"]] == ABSENT
    assert sample.state[0, J2D["right_wrist"]] == UNKNOWN
    assert sample.joints3d_weight[0, J3D["right_elbow"]] == 0
    assert np.isfinite(sample.joints_px).all() and np.isfinite(sample.joints3d_m).all()
    pose[J3D["spine"]] = np.nan  # no size without the chain
    sample = posed_sample(np.zeros((SIDE, SIDE, 3), np.uint8), pixels[None], pose[None])
    assert not sample.joints3d_weight.any() and np.isfinite(sample.joints3d_m).all()


def test_nobody_is_dropped_into_the_background_when_there_are_many():
    """Neither the ninth person of a picture nor the thirteenth box without labels."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    one = posed_sample(
        image,
        np.stack([[project(named_person()[n]) for n in JOINTS3D]] * 11),
        np.stack([[named_person((0, 0, 3000 + 10 * i))[n] for n in JOINTS3D] for i in range(11)]),
    )
    boxes = one.boxes_xyxy.copy()
    boxes[8:] = [[100, 8 * i, 108, 8 * i + 7] for i in range(3)]  # the farthest are elsewhere
    sample = type(one)(
        **{n: getattr(one, n) for n in one.__slots__} | {
            "boxes_xyxy": boxes,
            "ignore_xyxy": np.array([[8.0 * i, 112, 8 * i + 7, 119] for i in range(15)]),
        }
    )  # fmt: skip
    weight = make_targets(collate([sample], AugmentOptions(crop_px=SIDE))).heatmap_weight[0, 0]
    assert (weight[14, :15] == 0).all()
    assert (weight[:3, 13] == 0).all()


# COCO


def coco_person(number, keypoints, box=(20, 20, 60, 90), **more):
    flat = np.asarray(keypoints, float).ravel().tolist()
    labelled = int((np.asarray(keypoints)[:, 2] > 0).sum())
    return {"id": number, "image_id": 1, "bbox": list(box), "iscrowd": 0, "keypoints": flat,
            "num_keypoints": labelled, **more}  # fmt: skip


def write_coco(root, people, images=None):
    write_picture(root / "a.jpg")
    images = images or [{"id": 1, "file_name": "a.jpg", "width": SIDE, "height": SIDE}]
    (root / "l.json").write_text(json.dumps({"images": images, "annotations": people}))
    return root / "l.json"


def seventeen(v=2):
    grid = np.stack(np.meshgrid(np.arange(30, 80, 10), np.arange(30, 70, 10)), -1).reshape(-1, 2)
    return np.concatenate([grid[:17], np.full((17, 1), v)], 1).astype(float)


def test_one_shoulder_leaves_the_neck_unknown_and_none_leaves_it_absent():
    keypoints = np.stack([seventeen()] * 3)
    keypoints[1, 5, 2] = 0
    keypoints[2, 5:7, 2] = 0
    keypoints[0, 6, 2] = 1
    joints, state = joints18_from_coco17(keypoints)
    assert state[:, J2D["neck"]].tolist() == [HIDDEN, UNKNOWN, ABSENT]
    assert state[1, J2D["left_shoulder"]] == ABSENT
    np.testing.assert_allclose(joints[0, J2D["neck"]], keypoints[0, 5:7, :2].mean(0))


@pytest.mark.parametrize("packed", [True, False])
def test_crowds_are_masked_by_their_run_lengths(tmp_path, packed):
    mask_tools = pytest.importorskip("pycocotools.mask")
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[16:40, 64:128] = 1
    if packed:
        runs = mask_tools.encode(np.asfortranarray(mask))
        runs = {"size": runs["size"], "counts": runs["counts"].decode()}
    else:
        flat = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = {"size": [SIDE, SIDE], "counts": np.diff([0, *edges, flat.size]).tolist()}
    crowd = {"id": 2, "image_id": 1, "bbox": [0, 0, SIDE, SIDE], "iscrowd": 1, "num_keypoints": 0,
             "keypoints": [0] * 51, "segmentation": runs}  # fmt: skip
    (sample,) = coco(write_coco(tmp_path, [crowd]), tmp_path)
    assert (sample.ignore_mask == mask).all() and not len(sample.ignore_xyxy)
    weight = make_targets(collate([sample], AugmentOptions(crop_px=SIDE))).heatmap_weight[0, 0]
    assert (weight[2:5, 8:] == 0).all()  # the crowd
    assert (weight[7:] == 1).all() and (weight[:, :6] == 1).all()  # its box is the whole picture


def test_a_crowd_without_runs_and_people_with_few_joints_are_masked_by_boxes(tmp_path, caplog):
    few = seventeen()
    few[4:, 2] = 0
    wrong = {"size": [5, 5], "counts": [25]}
    people = [
        coco_person(1, few),
        coco_person(2, seventeen(0), box=(90, 90, 20, 20), iscrowd=1, segmentation=wrong),
        coco_person(3, seventeen()),
    ]
    with caplog.at_level(logging.WARNING):
        (sample,) = coco(write_coco(tmp_path, people), tmp_path)
    assert len(sample.state) == 1
    assert sample.ignore_xyxy.tolist() == [[20, 20, 80, 110], [90, 90, 110, 110]]
    if "segmentation" not in caplog.text:
        pytest.importorskip("pycocotools")
    assert "annotation 2: segmentation: size [5, 5]" in caplog.text


def test_coco_masks_damaged_people_and_leaves_out_what_it_cannot_mask(tmp_path, caplog):
    damaged = coco_person(5, seventeen())
    damaged["keypoints"] = damaged["keypoints"][:-1]
    lost = {**coco_person(6, seventeen()), "image_id": 2}
    del lost["bbox"]
    images = [
        {"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"},
        {"id": 3, "file_name": "gone.jpg"},
    ]  # fmt: skip
    file = write_coco(tmp_path, [damaged, lost], images)
    with caplog.at_level(logging.WARNING):
        (sample,) = coco(file, tmp_path)
    assert not len(sample.state) and len(sample.ignore_xyxy) == 1
    assert "annotation 5: keypoints must hold (17, 3)" in caplog.text
    assert "annotation 6: no field 'bbox'" in caplog.text
    assert "gone.jpg" in caplog.text
    file.write_text(json.dumps({"images": []}))
    with pytest.raises(BadInput, match="has no annotations; it has images"):
        next(coco(file, tmp_path))


# LSP-Extended, renders, and the packing of all


def change(file, *path):
    """Set one value of a JSON file: names and numbers on the way, then the value."""
    *path, last, value = path
    data = json.loads(file.read_text())
    inner = data
    for name in path:
        inner = inner[name]
    inner[last] = value
    file.write_text(json.dumps(data))


def write_lspet(root, keep=5):
    root.mkdir()
    with tarfile.open(root / "train-000.tar", "w") as tar:
        for name, data in (("a.png", png()), ("b.png", b"no picture")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    keypoints = np.concatenate([np.linspace(20, 90, 28).reshape(14, 2), np.ones((14, 1))], 1)
    records = [("a.png", "train-000.tar"), ("b.png", "train-000.tar"), ("c.png", "train-000.tar"),
               ("a.png", "train-009.tar"), ("a.png", "train-000.tar")]  # fmt: skip
    images = [{"id": i, "file_name": n, "tar": t} for i, (n, t) in enumerate(records)]
    people = [
        {"id": 10 + i, "image_id": i, "bbox": [10, 10, 90, 90],
         "keypoints": keypoints.ravel().tolist()[: 42 if i < 4 else 40]}
        for i in range(5)
    ]  # fmt: skip
    (root / "train.json").write_text(json.dumps({"images": images, "annotations": people[:keep]}))


def png():
    return cv2.imencode(".png", np.full((SIDE, SIDE, 3), 80, np.uint8))[1].tobytes()


def test_lspet_leaves_out_what_is_damaged_and_names_it(tmp_path, caplog):
    write_lspet(tmp_path / "lspet")
    (tmp_path / "lspet" / "train-001.tar").write_bytes(b"no tar")
    with caplog.at_level(logging.WARNING):
        (sample,) = lspet(tmp_path / "lspet", "train")
    assert sample.state[0, J2D["left_wrist"]] == SEEN
    for words in (
        "cannot decode b.png in", "c.png in", "there is no tar 'train-009.tar'", "train-001.tar",
        "annotation 14: keypoints must hold (14, 3) numbers",
    ):  # fmt: skip
        assert words in caplog.text


def test_a_damaged_render_shard_is_named(tmp_path):
    np.savez(tmp_path / "r.npz", jpeg=np.zeros(3, np.uint8), jpeg_len=np.array([3]))
    with pytest.raises(BadInput, match=r"r\.npz has no field joints_cam_m, joints_px, mask"):
        next(renders(tmp_path / "r.npz"))


def test_packing_goes_on_without_what_is_missing(tmp_path, caplog, capsys, monkeypatch):
    monkeypatch.setattr("xnect.train.pack.PART", 2)
    write_lspet(tmp_path / "lspet")
    (tmp_path / "renders").mkdir()
    np.savez(tmp_path / "renders" / "r.npz", jpeg=np.zeros(3, np.uint8))
    names = [f"unaugmented_set/{i}.jpg" for i in range(3)]
    people = [muco_person(i, i, named_person(seed=i)) for i in range(3)]
    write_muco(tmp_path / "muco", people, names)
    places = {"shared": "", "renders": "renders", "out": "out", "muco": "muco", "h36m": ""}
    words = [w for flag, at in places.items() for w in (f"--{flag}", str(tmp_path / at))]
    with caplog.at_level(logging.WARNING):
        assert main(words) == 0
    assert capsys.readouterr().out.split("\n")[:-1] == [
        "lspet: 1 pictures", "muco-000: 2 pictures", "muco-001: 1 pictures"
    ]  # fmt: skip
    for words in ("left out coco: cannot read", "left out r: ", "left out h36m"):
        assert words in caplog.text
    sample = Shards([tmp_path / "out" / "muco-001.npz"])[0]
    np.testing.assert_allclose(
        sample.joints_px[0, J2D["left_knee"]], project(named_person(seed=2)["left_knee"]), atol=1e-3
    )
    words = ["--shared", str(tmp_path / "x"), "--renders", str(tmp_path / "muco")]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert "holds a data set that can be read" in capsys.readouterr().err


# damaged labels and files


def test_labels_outside_the_picture_are_absent_and_named(tmp_path, caplog):
    """One of COCO's and the neck that hangs on it; rounding at the rim stays."""
    wild, rim, gone = seventeen(), seventeen(), seventeen()
    wild[5] = wild[9] = (5000, -3000, 2)  # left shoulder and wrist
    rim[9] = (SIDE + 0.4, 40, 1)
    gone[:, 0] += 5000
    people = [coco_person(1, wild), coco_person(2, rim), coco_person(3, gone, box=(1, 2, 3, 4))]
    with caplog.at_level(logging.WARNING):
        (sample,) = coco(write_coco(tmp_path, people), tmp_path)
    assert len(sample.state) == 2 and sample.ignore_xyxy.tolist() == [[1, 2, 4, 6]]
    assert (sample.state[0, [J2D["left_shoulder"], J2D["left_wrist"]]] == ABSENT).all()
    assert sample.state[0, J2D["neck"]] == UNKNOWN
    assert (sample.state[0] == SEEN).sum() == 15
    assert sample.state[1, J2D["left_wrist"]] == HIDDEN
    assert "annotation 1: 2 joints outside the picture" in caplog.text
    assert caplog.text.count("annotation 1:") == 1 and "annotation 2" not in caplog.text


def test_lspet_labels_outside_the_picture_are_absent_and_named(tmp_path, caplog):
    write_lspet(tmp_path / "lspet", keep=1)
    rest = np.concatenate([np.linspace(20, 90, 22).reshape(11, 2), np.ones((11, 1))], 1)
    rest = rest.ravel().tolist()
    change(tmp_path / "lspet/train.json", "annotations", 0, "keypoints", [-400.0, 30, 1] * 3 + rest)
    with caplog.at_level(logging.WARNING):
        (sample,) = lspet(tmp_path / "lspet", "train")
    names = ("right_ankle", "right_knee", "right_hip")
    assert (sample.state[0, [J2D[n] for n in names]] == ABSENT).all()
    assert (sample.state[0] == SEEN).sum() == 10  # the rest of twelve, and the neck
    assert "annotation 10: 3 joints outside the picture" in caplog.text


def test_a_picture_for_whose_people_no_picture_is_named_is_not_sure_background(tmp_path, caplog):
    """Masked where the person may be; doubted where nothing is known of them."""
    strays = {
        "no image_id": coco_person(7, seventeen()), "a list": coco_person(7, seventeen()),
        "other kind": coco_person(7, seventeen(), image_id="1"),
    }  # fmt: skip
    del strays["no image_id"]["image_id"]
    strays["a list"]["image_id"] = [1]
    with caplog.at_level(logging.WARNING):
        for name, stray in strays.items():
            (sample,) = coco(write_coco(tmp_path, [stray]), tmp_path)
            assert sample.ignore_xyxy.tolist() == [[20, 20, 80, 110]], name
            assert sample.outside_weight == 1
    assert caplog.text.count("the first is 7; their boxes are masked everywhere") == 3
    del strays["a list"]["bbox"]
    for stray in (None, "x", strays["a list"]):
        (sample,) = coco(write_coco(tmp_path, [stray, coco_person(3, seventeen())]), tmp_path)
        assert len(sample.state) == 1 and sample.outside_weight < 1
    many = [{**strays["no image_id"], "id": i} for i in range(30)]
    (sample,) = coco(write_coco(tmp_path, many), tmp_path)
    assert sample.outside_weight < 1 and not len(sample.ignore_xyxy)


def test_a_coco_picture_without_id_is_left_out_and_the_rest_stays(tmp_path, caplog):
    images = [{"id": 1, "file_name": "a.jpg"}, {"file_name": "b.jpg"}, None,
              {"id": [1], "file_name": "c.jpg"}, {"id": 4, "file_name": "d" * 400}]  # fmt: skip
    people = [coco_person(1, seventeen()), coco_person(2, seventeen(), image_id=2)]
    file = write_coco(tmp_path, people, images)
    for name in "bc":
        write_picture(tmp_path / f"{name}.jpg")
    with caplog.at_level(logging.WARNING):
        (sample,) = coco(file, tmp_path)
    assert len(sample.state) == 1 and sample.outside_weight == 1
    for words in ("left out b.jpg:", "left out c.jpg:", "the first is number 2, null", "too long"):
        assert words in caplog.text


def test_a_count_of_joints_that_is_none_masks_its_person_only(tmp_path, caplog):
    people = [coco_person(1, seventeen(), num_keypoints=None), coco_person(2, seventeen())]
    with caplog.at_level(logging.WARNING):
        (sample,) = coco(write_coco(tmp_path, people), tmp_path)
    assert len(sample.state) == 1 and len(sample.ignore_xyxy) == 1
    assert "annotation 1: num_keypoints must be a number, got None" in caplog.text
    for field in ("annotations", "images"):
        file = write_coco(tmp_path, people)
        file.write_text(json.dumps({**json.loads(file.read_text()), field: None}))
        with pytest.raises(BadInput, match=f"l.json: {field} must be a list of objects, got null"):
            next(coco(file, tmp_path))


def test_run_lengths_that_are_no_lengths_mask_the_box(tmp_path):
    pytest.importorskip("pycocotools")
    runs = {"size": [SIDE, SIDE], "counts": [-5, 10**9]}
    crowd = coco_person(1, seventeen(), iscrowd=1, segmentation=runs)
    (sample,) = coco(write_coco(tmp_path, [crowd]), tmp_path)
    assert len(sample.ignore_xyxy) == 1


def test_muco_records_that_are_none_make_no_sure_background(tmp_path, caplog):
    file = write_muco(tmp_path, [None, muco_person(0, 0, named_person())])
    with caplog.at_level(logging.WARNING):
        (sample,) = muco(file, tmp_path)
    assert len(sample.state) == 1 and sample.outside_weight < 1
    assert "MuCo-3DHP.json: annotations: 1 records" in caplog.text
    change(file, "images", 0, None)
    assert not list(muco(file, tmp_path))


@pytest.mark.parametrize(
    ("file", "field", "value", "words"),
    [
        ("data", ("images", 1, "frame_idx"), None, "frame_idx must be a whole number, got None"),
        ("data", ("images", 1), None, "the first is number 1, null"),
        ("joint_3d", ("2", "1", "5"), None, "5 must hold"),
        ("camera", ("4",), [1], "camera 4 must be an object, got [1]"),
    ],
)
def test_h36m_loses_the_damaged_record_only(tmp_path, caplog, file, field, value, words):
    start = write_h36m(tmp_path, named_person())
    if file == "camera":
        change(start / "Human36M_subject1_data.json", "images", 1, "cam_idx", 4)
    change(start / f"Human36M_subject1_{file}.json", *field, value)
    with caplog.at_level(logging.WARNING):
        assert len(list(h36m(start, tmp_path))) == 1
    assert words in caplog.text


def test_h36m_poses_that_are_no_objects_are_named(tmp_path, caplog):
    start = write_h36m(tmp_path, named_person())
    change(start / "Human36M_subject1_joint_3d.json", "2", [1])
    with caplog.at_level(logging.WARNING):
        assert not list(h36m(start, tmp_path))
    assert "joint_3d.json, action 2, subaction 1 must be an object, got [1]" in caplog.text


def test_lspet_loses_the_damaged_record_only(tmp_path, caplog):
    write_lspet(tmp_path / "lspet", keep=4)
    file = tmp_path / "lspet" / "train.json"
    for number in range(4):
        change(file, "images", number, "file_name", "a.png")
        change(file, "images", number, "tar", "train-000.tar")
    change(file, "images", 1, {"file_name": "a.png", "tar": "train-000.tar"})
    change(file, "annotations", 2, None)
    change(file, "annotations", 3, {**json.loads(file.read_text())["annotations"][3], "id": None})
    with caplog.at_level(logging.WARNING):
        assert len(list(lspet(tmp_path / "lspet", "train"))) == 2
    for words in ("left out a.png", "annotation 11: there is no picture with the id 1", "null"):
        assert words in caplog.text
    change(file, "annotations", 0, "keypoints", [float("nan"), 3.0, 1] + [9.0, 9, 1] * 13)
    change(file, "annotations", 3, "image_id", [3])
    assert not list(lspet(tmp_path / "lspet", "train"))


def test_a_tar_without_its_end_keeps_its_whole_pictures(tmp_path, caplog):
    root = tmp_path / "lspet"
    write_lspet(root, keep=1)
    whole = (root / "train-000.tar").read_bytes()
    (root / "train-000.tar").write_bytes(whole[: whole.rindex(b"no picture") + 4])
    change(root / "train.json", "images", 0, "file_name", "a.png")
    with caplog.at_level(logging.WARNING):
        assert len(list(lspet(root, "train"))) == 1
    assert "train-000.tar is damaged: unexpected end of data" in caplog.text
    change(root / "train.json", "images", 0, "file_name", "b.png")
    with caplog.at_level(logging.WARNING):
        assert not list(lspet(root, "train"))
    assert "b.png in" in caplog.text


def write_teacher(path, **changed):
    arrays = {
        "annotation_id": np.array([10]), "agreement": np.ones(1),
        "landmarks_px": np.ones((1, 33, 2)), "visibility": np.ones((1, 33)),
        "world_m": np.ones((1, 33, 3)), "box_image_id": np.zeros(1, int),
        "box_xyxy_score": np.array([[100.0, 100, 120, 120, 1]]),
    }  # fmt: skip
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


def test_lspet_goes_on_without_a_damaged_teacher(tmp_path, caplog):
    write_lspet(tmp_path / "lspet", keep=1)
    file = write_teacher(tmp_path / "t.npz")
    (sample,) = lspet(tmp_path / "lspet", "train", file)
    assert len(sample.ignore_xyxy) == 1 and sample.joints3d_weight.any()
    whole = file.read_bytes()
    for damage in (
        lambda: file.write_bytes(whole[: len(whole) // 2]),
        lambda: file.write_bytes(b""),
        lambda: write_teacher(file, visibility=None),
        lambda: write_teacher(file, world_m=np.ones((1, 32, 3))),
        lambda: write_teacher(file, annotation_id=np.array(["x"])),
    ):
        damage()
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            (sample,) = lspet(tmp_path / "lspet", "train", file)
        assert len(sample.state) == 1 and not sample.joints3d_weight.any()
        assert "going on without the teacher: " in caplog.text and "t.npz" in caplog.text
    write_teacher(file, world_m=np.full((1, 33, 3), np.nan))
    (sample,) = lspet(tmp_path / "lspet", "train", file)
    assert np.isfinite(sample.joints3d_m).all()


def test_lspet_leaves_out_who_has_other_sides_than_the_teacher_sees(tmp_path, caplog):
    """All pairs exchanged: left out.  One as labelled, or joints elsewhere: kept."""
    write_lspet(tmp_path / "lspet", keep=1)
    blazepose = {
        f"{side}_{part}": 2 * number + 11 + (side == "right") + 6 * (number > 2)
        for number, part in enumerate(("shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
        for side in ("left", "right")
    }
    labels = dict(zip(LSP14, np.linspace(20, 90, 28).reshape(14, 2), strict=True))

    def kept(named):
        landmarks = np.zeros((1, 33, 2))
        for name, index in blazepose.items():
            landmarks[0, index] = named[name]
        file = write_teacher(tmp_path / "t.npz", landmarks_px=landmarks, agreement=np.zeros(1))
        return len(list(lspet(tmp_path / "lspet", "train", file)))

    exchanged = {
        name: labels[name.replace("left", "x").replace("right", "left").replace("x", "right")]
        for name in blazepose
    }
    assert kept(labels) == 1
    with caplog.at_level(logging.INFO):
        assert kept(exchanged) == 0
    assert "left out 1 people" in caplog.text
    sides = {n: labels[n] for n in ("left_ankle", "right_ankle")}
    assert kept({**exchanged, **sides}) == 1
    assert kept({name: place + 500 for name, place in exchanged.items()}) == 1
    change(tmp_path / "lspet" / "train.json", "annotations", 0, "id", [10])  # no id: nobody's
    assert kept(exchanged) == 1


def render_fields(**changed):
    image = np.full((SIDE, SIDE, 3), 90, np.uint8)
    jpeg = cv2.imencode(".jpg", image)[1].ravel()
    mask = cv2.imencode(".png", image[..., 0])[1].ravel()
    rng = np.random.default_rng(0)
    return {
        "jpeg": np.concatenate([jpeg, jpeg]), "jpeg_len": np.array([len(jpeg)] * 2),
        "mask": np.concatenate([mask, mask]), "mask_len": np.array([len(mask)] * 2),
        "person_offset": np.array([0, 1, 2]), "vis": np.full((2, 29), 2, np.uint8),
        "joints_px": rng.uniform(20, 100, (2, 29, 2)), "joints_cam_m": rng.normal(0, 1, (2, 29, 3)),
    } | changed  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("person_offset", np.array([0, 1])), ("person_offset", np.array([0, 2, 1])),
        ("vis", np.full((1, 29), 2, np.uint8)), ("vis", np.full((2, 29), 7, np.uint8)),
        ("mask_len", np.array([90])), ("jpeg_len", np.array([1.5, 2])),
        ("jpeg_len", np.array([-3, 3])), ("joints_px", np.zeros((2, 28, 2))),
    ],
)  # fmt: skip
def test_renders_whose_fields_do_not_fit_are_named(tmp_path, field, value):
    np.savez(tmp_path / "r.npz", **render_fields(**{field: value}))
    with pytest.raises(BadInput, match=r"r\.npz is damaged: "):
        list(renders(tmp_path / "r.npz"))


def test_a_damaged_render_is_left_out_and_its_neighbour_stays(tmp_path, caplog):
    fields = render_fields()
    fields["joints_px"][1, RAW29.index("left_wrist")] = (5000, -3000)
    np.savez(tmp_path / "r.npz", **fields)
    with caplog.at_level(logging.WARNING):
        samples = list(renders(tmp_path / "r.npz"))
    assert [s.state[0, J2D["left_wrist"]] for s in samples] == [SEEN, ABSENT]
    assert "picture 1 of" in caplog.text and "1 joints outside are absent" in caplog.text
    fields["joints_cam_m"][0, 3] = np.nan
    np.savez(tmp_path / "r.npz", **fields)
    assert len(list(renders(tmp_path / "r.npz"))) == 1
    np.savez(tmp_path / "r.npz", **render_fields(jpeg_len=np.array([0, len(fields["jpeg"])])))
    assert len(list(renders(tmp_path / "r.npz"))) == 1  # nothing is left to decode of the first


def test_photos_that_the_tests_show_are_not_packed(tmp_path, caplog):
    """By the rule of `xnect.synth.split`; without the list nobody knows which they are."""
    folder = tmp_path / "synth" / "backgrounds"
    entries = [{"file": f"{use}{i}.jpg", "use": use} for i in range(13) for use in ("room", "view")]
    entries.append({"file": "only.jpg", "use": "sky"})  # one of a kind is on both sides
    for shade, entry in enumerate(entries):
        write_picture(folder / entry["file"], shade=40 + 4 * shade)
    with caplog.at_level(logging.WARNING):
        assert not list(negatives(tmp_path))
    assert "left out the photos behind the renders" in caplog.text
    assert "left out the unlabelled pictures" in caplog.text
    (tmp_path / "synth/backgrounds.json").write_text(json.dumps(entries))
    wanted = {
        entry["file"]
        for use in ("room", "view", "sky")
        for kind in [[e for e in entries if e["use"] == use]]
        for entry in [kind[n] for n in every(len(kind), EVERY_PHOTO, held_out=False)]
    }
    assert {path.name for path in training_photos(tmp_path / "synth")} == wanted
    assert "only.jpg" in wanted and not {"room0.jpg", "view6.jpg", "room12.jpg"} & wanted
    shades = sorted(round(float(s.image.mean())) for s in negatives(tmp_path))
    there = sorted(40 + 4 * i for i, entry in enumerate(entries) if entry["file"] in wanted)
    np.testing.assert_allclose(shades, there, atol=1)


def test_what_no_reader_foresaw_costs_its_own_set_only(tmp_path, caplog, monkeypatch):
    write_lspet(tmp_path / "lspet", keep=1)
    for error in (KeyError("x"), TypeError("y"), IndexError("z"), cv2.error("a\n b"), ValueError()):

        def broken(*_, error=error):
            raise error
            yield

        monkeypatch.setattr("xnect.train.pack.coco", broken)
        monkeypatch.setattr("xnect.train.pack.muco", broken)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            counts = pack(
                tmp_path, tmp_path / "lspet", tmp_path / "out", others=OtherSets(muco=tmp_path)
            )
        assert counts == {"lspet": 1}
        assert "left out coco: " in caplog.text and "left out muco: " in caplog.text
        assert type(error).__name__ in caplog.text


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    write_lspet(tmp_path / "lspet", keep=1)
    (tmp_path / "out").write_text("a file")
    words = ["--shared", str(tmp_path), "--renders", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "error: cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["people", "jpeg_length", "ignored"])
def test_a_packed_shard_whose_counts_are_none_is_named(tmp_path, name):
    path = tmp_path / "a.npz"
    write_shard(path, coco(write_coco(tmp_path, [coco_person(1, seventeen())]), tmp_path))
    fields = dict(np.load(path))
    for wrong in (fields[name].astype(float), np.array(1), fields[name] - 10**6):
        np.savez(path, **fields | {name: wrong})
        with pytest.raises(BadInput, match=f"a.npz is damaged: {name} "):
            read_shard(path)


def test_renders_of_the_held_out_part_are_never_packed_to_train_on(tmp_path, caplog):
    """Nor those of all of the pack; older ones, which do not say, are taken for training ones."""
    folder = tmp_path / "renders"
    folder.mkdir()
    for name, split in (("a", "training"), ("b", "held-out"), ("c", "all"), ("d", None)):
        said = {} if split is None else {"made_json": np.array(json.dumps({"split": split}))}
        np.savez(folder / f"{name}.npz", **render_fields(), **said)
    out = tmp_path / "out"
    with caplog.at_level(logging.WARNING):
        assert pack(tmp_path / "none", folder, out) == {"a": 2, "b": 2, "d": 2}
    assert sorted(path.name for path in out.iterdir()) == [
        "held-out-b.npz", "renders-a.npz", "renders-d.npz"
    ]  # fmt: skip
    assert "left out c: it shows all of the pack" in caplog.text


def test_a_wrong_folder_of_renders_is_said_before_anything_is_packed(tmp_path, capsys, caplog):
    write_lspet(tmp_path / "lspet", keep=1)
    words = ["--shared", str(tmp_path), "--out", str(tmp_path / "out"), "--renders"]
    assert main([*words, str(tmp_path / "rendres")]) == 2
    assert "rendres is no folder of renders" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with caplog.at_level(logging.INFO):
        assert main([*words, str(tmp_path)]) == 0
    assert f"{tmp_path} holds no renders" in caplog.text
    assert "lspet: 1 people in 1 pictures" in caplog.text


def test_people_whose_joints_nobody_counted_are_people(tmp_path):
    """`num_keypoints` is left out by other tools; it can be counted."""
    few = seventeen()
    few[4:, 2] = 0
    for keypoints, people in ((seventeen(), 1), (seventeen(v=1), 1), (few, 0)):
        person = coco_person(1, keypoints)
        (counted,) = coco(write_coco(tmp_path, [person]), tmp_path)
        del person["num_keypoints"]
        (sample,) = coco(write_coco(tmp_path, [person]), tmp_path)
        assert len(sample.state) == people and len(sample.ignore_xyxy) == 1 - people
        np.testing.assert_array_equal(sample.state, counted.state)


def test_a_damaged_frame_of_mpi3dhp_costs_no_other(tmp_path, caplog):
    folder = tmp_path / "S1" / "Seq1"
    write_3dhp(folder, [beside(named_person(), 40.0 * i) for i in range(4)])
    frames = [folder / "imageFrames/video_0" / f"frame_{n:06d}.jpg" for n in range(1, 5)]
    for frame in frames:
        write_picture(frame)
    frames[1].write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        assert len(list(mpi3dhp(tmp_path, cameras=(0,), moved_mm=0))) == 3
    assert str(frames[1]) in caplog.text
