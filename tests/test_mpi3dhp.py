"""The test protocol of MPI-INF-3DHP (spec 7.2), on cases counted by hand."""

import sys

import numpy as np
import pytest
from fakes import person
from scipy.io import savemat

from xnect.calib.camera import Camera
from xnect.errors import BadInput, MissingExtra
from xnect.eval.__main__ import main
from xnect.eval.mpi3dhp import (
    TestSequence,
    chosen_pose,
    evaluate_mpi3dhp,
    read_sequence,
    read_test_set,
    sequence_camera,
    to_universal,
)
from xnect.eval.mpi_groups import RELEVANT
from xnect.eval.mupots import Found
from xnect.recording import save_recording
from xnect.skeleton import chain_m
from xnect.types import Result

J = {name: i for i, name in enumerate(RELEVANT)}


def body(rng):
    """(17, 3) mm with a chain of 920 mm and the pelvis anywhere."""
    return to_universal(rng.normal(0, 300, (17, 3))) + rng.normal(0, 1000, 3)


def sequence(frames=4, *, valid=None, activity=None, seed=0):
    rng = np.random.default_rng(seed)
    return TestSequence(
        rng.uniform(100, 900, (frames, 17, 2)),
        np.array([body(rng) for _ in range(frames)]),
        np.full(frames, 1) if activity is None else np.array(activity),
        np.ones(frames, bool) if valid is None else np.array(valid, bool),
    )


def exactly(truth, frame, *, size=1.0, wrong_mm=0.0):
    """Who is found where the label is; `wrong_mm` off in the left wrist and in the head."""
    pose = size * (truth.universal_mm[frame] - truth.universal_mm[frame, J["pelvis"]])
    pose[[J["left_wrist"], J["head"]], 2] += wrong_mm
    return Found(truth.joints_px[[frame]], pose[None] + (50, 60, 4000), np.ones(1))


def test_universal_size_is_a_chain_of_920_mm_about_the_pelvis():
    pose = to_universal(np.random.default_rng(0).normal(0, 1, (3, 17, 3)))
    assert np.allclose(chain_m(pose), 920)
    assert np.allclose(pose[:, J["pelvis"]], 0)


def test_size_is_forgiven_unless_metric_is_asked_for():
    truth = {"TS1": sequence()}
    found = {"TS1": {f: exactly(truth["TS1"], f, size=1.3) for f in range(4)}}
    assert evaluate_mpi3dhp(truth, found).all.mpjpe_mm == pytest.approx(0, abs=1e-9)
    assert evaluate_mpi3dhp(truth, found, universal=False).all.mpjpe_mm > 20


def test_pck_is_over_14_joints_and_mpjpe_over_17():
    truth = {"TS1": sequence(2)}
    seen = {f: exactly(truth["TS1"], f, wrong_mm=170.0) for f in range(2)}
    scores = evaluate_mpi3dhp(truth, {"TS1": seen}, universal=False).all
    assert scores.pck["wrists"] == 50
    assert scores.pck["total"] == pytest.approx(100 * 13 / 14)  # the head is no scored joint
    assert scores.mpjpe_mm == pytest.approx(2 * 170 / 17)  # but its error is in the mean


def test_frames_that_are_not_valid_do_not_count():
    truth = {"TS1": sequence(3, valid=[1, 0, 1])}
    seen = {f: exactly(truth["TS1"], f, wrong_mm=1000.0 * (f == 1)) for f in range(3)}
    report = evaluate_mpi3dhp(truth, {"TS1": seen})
    assert (report.all.poses, report.all.mpjpe_mm) == (2, pytest.approx(0, abs=1e-9))


def test_nobody_found_is_wrong_in_pck_and_left_out_of_mpjpe():
    truth = {"TS1": sequence(4)}
    report = evaluate_mpi3dhp(truth, {"TS1": {0: exactly(truth["TS1"], 0)}})
    assert report.found == 0.25
    assert report.all.pck["total"] == 25
    assert report.all.mpjpe_mm == pytest.approx(0, abs=1e-9)


def test_tables_by_activity_and_sequence_are_pooled_over_frames():
    # TS1: 3 frames, standing, right; TS2: 1 frame, sports, nobody found.  All: 3 of 4 = 75 %,
    # not the mean of the two sequences.
    truth = {"TS1": sequence(3), "TS2": sequence(1, activity=[6], seed=1), "TS3": sequence(1)}
    found = {"TS1": {f: exactly(truth["TS1"], f) for f in range(3)}, "TS2": {}}
    report = evaluate_mpi3dhp(truth, found)
    assert report.all.pck["total"] == 75
    assert {n: s.pck["total"] for n, s in report.activities.items()} == {
        "standing/walking": 100,
        "sports": 0,
    }
    assert report.sequences["TS1"].pck["total"] == 100
    assert report.left_out == ("TS3",)
    assert "| standing/walking | 100.0 |" in report.table()
    with pytest.raises(BadInput, match="no predictions for any of the sequences TS1, TS2, TS3"):
        evaluate_mpi3dhp(truth, {})


def test_of_several_people_the_nearest_in_the_picture_counts():
    labels = np.full((17, 2), 500.0)
    poses = np.arange(3)[:, None, None] * np.ones((3, 17, 3))
    pixels = np.stack([labels + 300, labels + 20, labels + 21])
    assert chosen_pose(labels, Found(pixels, poses, np.ones(3)))[0, 0] == 1
    pixels[1] = 0  # nothing of them was seen
    assert chosen_pose(labels, Found(pixels, poses, np.ones(3)))[0, 0] == 2
    assert chosen_pose(labels, Found(0 * pixels, poses, np.ones(3))) is None
    assert chosen_pose(labels, None) is None


def test_cameras_are_those_of_the_kit():
    assert sequence_camera("TS4").fx_px == pytest.approx(1499.2, abs=0.05)
    assert sequence_camera("TS5").fx_px == pytest.approx(1684.0, abs=0.05)
    assert (sequence_camera("TS6").width_px, sequence_camera("TS6").height_px) == (1920, 1080)
    with pytest.raises(BadInput, match="'TS7' is none of"):
        sequence_camera("TS7")


def variables(truth):
    """In MATLAB's dimensions: (2, 17, 1, F) and (1, F)."""
    return {
        "annot2": truth.joints_px.transpose(2, 1, 0)[:, :, None],
        "annot3": truth.universal_mm.transpose(2, 1, 0)[:, :, None],
        "univ_annot3": truth.universal_mm.transpose(2, 1, 0)[:, :, None],
        "activity_annotation": truth.activity[None].astype(float),
        "valid_frame": truth.valid[None].astype(float),
    }


def write_73(path, values):
    """As MATLAB 7.3 does: a text header of 512 bytes, then HDF5 with dimensions reversed."""
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in values.items():
            file[name] = np.asarray(value).transpose()
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(124) + b"\x00\x02IM")


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("joints_px", "universal_mm", "activity", "valid")
    )


def test_labels_are_read_from_matlab_73(tmp_path):
    truth = sequence(5, valid=[1, 0, 1, 1, 0], activity=[1, 2, 3, 7, 6])
    folder = tmp_path / "TS2"
    folder.mkdir()
    write_73(folder / "annot_data.mat", variables(truth))
    read = read_test_set(tmp_path)
    assert list(read) == ["TS2"]
    assert same(read["TS2"], truth)


def test_labels_are_read_from_older_files_as_well(tmp_path):
    truth = sequence(3)
    savemat(tmp_path / "annot_data.mat", variables(truth))
    assert same(read_sequence(tmp_path), truth)


def test_without_h5py_there_is_one_sentence_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "annot_data.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match="needs h5py; `pip install h5py`"):
        read_sequence(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"univ_annot3": np.zeros((3, 14, 1, 2))}, r"univ_annot3 must be \(3, 17, 1, frames\)"),
        ({"valid_frame": np.ones((1, 9))}, "valid_frame must have 2 numbers, got 9"),
        ({"annot2": np.zeros((2, 17, 1, 3))}, "annot2 has 3 frames, univ_annot3 has 2"),
        ({"activity_annotation": None}, "no 'activity_annotation'; its variables: annot2"),
    ],
)
def test_another_layout_is_one_sentence(tmp_path, change, sentence):
    values = {k: v for k, v in {**variables(sequence(2)), **change}.items() if v is not None}
    savemat(tmp_path / "annot_data.mat", values)
    with pytest.raises(BadInput, match=sentence):
        read_sequence(tmp_path)


def test_missing_files_are_one_sentence(tmp_path):
    with pytest.raises(BadInput, match="none of the folders TS1"):
        read_test_set(tmp_path)
    with pytest.raises(BadInput, match=r"annot_data\.mat: there is no such file"):
        read_sequence(tmp_path)


def test_the_command_makes_both_tables(tmp_path, capsys):
    camera = Camera.guess(480, 640)
    one = person(1, 0.0, 4.0, camera)
    pose = 1000 * one.joints3d_m[:17]
    truth = TestSequence(
        camera.project(one.joints3d_m[:17])[None], to_universal(pose)[None], np.array([3]),
        np.array([True]),
    )  # fmt: skip
    (tmp_path / "TS1").mkdir()
    savemat(tmp_path / "TS1" / "annot_data.mat", variables(truth))
    save_recording(tmp_path / "out" / "TS1.npz", [Result(0, 0.0, (480, 640), camera, (one,))])
    assert main(["mpi3dhp", str(tmp_path), str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "| sitting | 100.0 |" in out
    assert "| TS1 | 100.0 |" in out
    assert main(["mpi3dhp", str(tmp_path), str(tmp_path / "out"), "--metric"]) == 0
    assert "| TS1 | 100.0 |" in capsys.readouterr().out
