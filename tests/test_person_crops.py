"""Cut-outs of single people: what is cut, and what is said of damaged files."""

from __future__ import annotations

import errno
import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.test_targets import SIDE, random_sample
from xnect.errors import BadInput, CannotWrite
from xnect.train import person_crops
from xnect.train.person_crops import (
    CUT_PX,
    main,
    read_person_crops,
    write_backgrounds,
    write_person_crops,
)
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
            patch.setattr(person_crops.np, function, full)
            with pytest.raises(CannotWrite, match="No space left"):
                write_person_crops([people.parent / "a.npz"], people)
        assert {path.name: path.read_bytes() for path in people.parent.iterdir()} == before


def test_the_command_says_what_is_missing_in_one_sentence(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    write_shard(tmp_path / "good" / "lspet.npz", [person()])
    for data, out, words in (
        ("none", "out", "there is no folder"),
        ("empty", "out", "holds none of negatives.npz, coco*.npz"),
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
