"""Cut-outs of single people: what is cut, and what is said of damaged files."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.test_targets import SIDE, random_sample
from xnect.errors import BadInput, CannotWrite
from xnect.train import crops as crop_files
from xnect.train.crops import CUT_PX, read_person_crops
from xnect.train.empty_crops import write_backgrounds
from xnect.train.person_crops import main, write_person_crops
from xnect.train.samples import ABSENT, SEEN, write_shard


def person(seed=0):
    sample = random_sample(seed, 1)
    sample.state[:] = SEEN
    return sample


def test_cut_outs_come_back_as_they_were_written(tmp_path):
    write_shard(tmp_path / "a.npz", [person(0), person(1)])
    assert write_person_crops([tmp_path / "a.npz"], tmp_path / "people") == 2
    crops = read_person_crops(tmp_path / "people")
    assert crops.images.shape == (2, CUT_PX, CUT_PX, 3) and (crops.state == SEEN).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "people.npy", "people.npz"]


def test_shards_without_anybody_are_one_sentence(tmp_path):
    write_shard(tmp_path / "a.npz", [random_sample(0, 0)])
    with pytest.raises(BadInput, match=r"nobody to cut out of a\.npz"):
        write_person_crops([tmp_path / "a.npz"], tmp_path / "people")


def test_squares_are_cut_only_where_nobody_is_for_sure(tmp_path):
    dark = random_sample(0, 0)
    dark.image[:] = 0
    doubtful, peopled = replace(random_sample(1, 0), outside_weight=0.5), person(2)
    masked = replace(random_sample(3, 0), ignore_xyxy=np.array([[0.0, 0, SIDE, SIDE]]))
    crowd = replace(random_sample(4, 0), ignore_mask=np.ones((SIDE, SIDE), np.uint8))
    shard = tmp_path / "a.npz"
    write_shard(shard, [doubtful, peopled, masked, crowd, dark])
    assert write_backgrounds([shard], tmp_path / "empty", count=12) == 12
    crops = read_person_crops(tmp_path / "empty")
    assert len(crops.images) == 12 and crops.images.max() < 8 and (crops.state == ABSENT).all()
    write_shard(shard, [doubtful, peopled, masked, crowd])
    with pytest.raises(BadInput, match=r"no picture in a\.npz is sure to show nobody"):
        write_backgrounds([shard], tmp_path / "empty", count=12)


@pytest.fixture
def people(tmp_path):
    write_shard(tmp_path / "a.npz", [person(0), person(1)])
    write_person_crops([tmp_path / "a.npz"], tmp_path / "people")
    return tmp_path / "people"


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_half_a_file_of_cut_outs_is_one_sentence(people, suffix, share):
    path = people.with_suffix(suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadInput, match=f"people.{suffix[1:]}") as caught:
        read_person_crops(people)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("joints_px", lambda a: a[:1]),
        ("joints_px", lambda a: a[..., 0]),
        ("joints_px", lambda a: a.astype(str)),
        ("state", lambda a: a[:, :17]),
        ("state", lambda a: a.astype(float)),
        ("joints3d_m", lambda a: np.concatenate([a, a])),
        ("joints3d_weight", lambda a: a[0]),
    ],
)
def test_labels_that_do_not_fit_the_pictures_are_named(people, name, change):
    labels = dict(np.load(people.with_suffix(".npz")))
    np.savez(people.with_suffix(".npz"), **labels | {name: change(labels[name])})
    with pytest.raises(BadInput, match=f"does not fit the 2 pictures beside it: {name} is"):
        read_person_crops(people)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, CUT_PX, CUT_PX, 3), np.float32),
        np.zeros((2, CUT_PX, CUT_PX - 1, 3), np.uint8),
        np.zeros((2, CUT_PX, CUT_PX), np.uint8),
    ],
)
def test_pictures_of_another_form_are_named(people, images):
    np.save(people.with_suffix(".npy"), images)
    with pytest.raises(BadInput, match=r"people\.npy must hold \(N, 240, 240, 3\) uint8"):
        read_person_crops(people)
    np.save(people.with_suffix(".npy"), np.zeros((3, CUT_PX, CUT_PX, 3), np.uint8))
    with pytest.raises(BadInput, match="does not fit the 3 pictures"):
        read_person_crops(people)


def test_a_full_disk_leaves_the_older_cut_outs(people, monkeypatch):
    before = {path.name: path.read_bytes() for path in people.parent.iterdir()}

    def full(file, *_, **__):
        file.write(b"cut")
        raise OSError(errno.ENOSPC, "No space left on device")

    for function in ("save", "savez"):
        with monkeypatch.context() as patch:
            patch.setattr(crop_files.np, function, full)
            with pytest.raises(CannotWrite, match="No space left"):
                write_person_crops([people.parent / "a.npz"], people)
        assert {path.name: path.read_bytes() for path in people.parent.iterdir()} == before


def test_whom_a_pipeline_finds_where_nobody_is_becomes_a_cut_out(tmp_path):
    """The box of the joints that were found, in the middle; those hardly found are left alone."""
    from xnect.train.empty_crops import MISTAKEN_AT_LEAST, of_pipeline, write_false_alarms
    from xnect.types import PartialPose

    empty = random_sample(0, 0)
    empty.image[:] = 0
    empty.image[30:40, 50:60] = 255
    score = np.zeros(18)
    score[2:4] = 1
    joints = np.full((18, 2), np.nan)
    joints[2], joints[3] = (50, 30), (59, 39)
    seen = [
        PartialPose(joints, score, np.zeros((18, 63)), person_score)
        for person_score in (1.01 * MISTAKEN_AT_LEAST, 0.99 * MISTAKEN_AT_LEAST)
    ]
    write_shard(tmp_path / "a.npz", [empty, person(1)])
    looked_at = []

    def find(image):
        looked_at.append(image)
        return seen

    shards, out = [tmp_path / "a.npz"], tmp_path / "alarms"
    assert write_false_alarms(shards, [of_pipeline(find), of_pipeline(find)], out) == 2
    assert len(looked_at) == 2  # never at the picture with a person
    crops = read_person_crops(out)
    assert (crops.state == ABSENT).all()
    bright = np.argwhere(crops.images[0].min(-1) > 128)
    np.testing.assert_allclose(bright.mean(0), (CUT_PX - 1) / 2, atol=2)
    assert 100 < np.ptp(bright[:, 0]) < 160
    assert write_false_alarms(shards, [of_pipeline(lambda image: [])], tmp_path / "none") == 0
    assert not (tmp_path / "none.npy").exists()


def test_folders_without_people_are_packed_and_cut(tmp_path, capsys, caplog, monkeypatch):
    """`pack --empty`, then `person_crops`: squares of all of them, large pictures made smaller."""
    from xnect.train.pack import BACKGROUND_PX
    from xnect.train.pack import main as pack_command
    from xnect.train.samples import Shards

    for name, side in (("rooms", 900), ("streets", 50)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((side, side, 3), 200, np.uint8))
        (tmp_path / name / "notes.txt").write_text("no picture")
    data = tmp_path / "packed"
    words = ["--shared", str(tmp_path / "none"), "--renders", str(tmp_path), "--out", str(data)]
    folders = [str(tmp_path / name) for name in ("rooms", "streets", "missing")]
    with caplog.at_level(logging.WARNING):
        assert pack_command([*words, "--empty", *folders]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [
        "empty-rooms: 1 pictures", "empty-streets: 1 pictures"
    ]  # fmt: skip
    assert "missing of pictures without people" in caplog.text and "notes.txt" in caplog.text
    shard = Shards([data / "empty-rooms.npz", data / "empty-streets.npz"])
    assert [shard[i].image.shape[0] for i in (0, 1)] == [BACKGROUND_PX, 50]
    assert shard.sure_to_be_empty().all()
    monkeypatch.setattr("xnect.train.person_crops.BACKGROUNDS", 5)
    assert main(flags(tmp_path, "packed", "out")) == 0
    assert "negatives: 5" in capsys.readouterr().out
    assert len(read_person_crops(tmp_path / "out" / "negatives").images) == 5
    again = str(tmp_path / "other" / "rooms")
    assert pack_command([*words, "--empty", folders[0], again]) == 2
    assert "two folders of pictures without people are called rooms" in capsys.readouterr().err


def test_the_command_says_what_is_missing_in_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_shard(tmp_path / "good" / "lspet.npz", [person()])
    for data, out, words in (
        ("none", "out", "there is no folder"),
        ("empty", "out", "holds none of negatives.npz, empty-*.npz"),
        ("good", "file", "cannot write"),
    ):
        assert main(flags(tmp_path, data, out)) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_command_goes_on_without_what_it_cannot_cut(tmp_path, capsys, caplog):
    data = tmp_path / "data"
    write_shard(data / "negatives.npz", [replace(random_sample(0, 0), outside_weight=0.5)])
    with caplog.at_level(logging.WARNING):
        assert main(flags(tmp_path, "data", "out")) == 2
    assert "left out negatives: no picture in negatives.npz" in caplog.text
    assert "nothing in" in capsys.readouterr().err
    write_shard(data / "lspet.npz", [person()])
    (data / "renders-a.npz").write_bytes(b"no shard")
    assert main(flags(tmp_path, "data", "out")) == 0
    assert capsys.readouterr().out == "lspet: 1 people\n"
    assert len(read_person_crops(tmp_path / "out" / "lspet").images) == 1
    assert "left out renders: " in caplog.text


def flags(tmp_path, data, out):
    at = {"data": tmp_path / data, "out": tmp_path / out, "shared": tmp_path / "no-shared"}
    return [word for name, path in at.items() for word in (f"--{name}", str(path))]
