"""The whole path: pictures in, people out, with the bundled weights on the bundled clip."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from xnect import model
from xnect.calib.camera import Camera
from xnect.errors import BadInput, BadWeights, UnknownName
from xnect.model import (
    LANES,
    WEIGHTS,
    bundled_weights,
    load_network,
    load_pipeline,
    pick_device,
    refiner_file,
)
from xnect.network import build_network
from xnect.pipeline import STAGES
from xnect.refiner import REFINER_NAME, REFINERS, Refiner
from xnect.skeleton import BODY, JOINTS3D
from xnect.train.checkpoint import file_metadata, save_weights
from xnect.train.lanes import LICENCES


@pytest.fixture(scope="module")
def pipeline():
    return load_pipeline(device="cpu")


@pytest.fixture(scope="module")
def clip():
    import av

    from xnect import demo

    path = demo.__path__[0] + "/demo.mp4"
    with av.open(path) as container:
        return [f.to_ndarray(format="rgb24") for f in container.decode(video=0)][:40:2]


def check_person(person, height, width):
    assert person.joints2d_px.shape == (18, 2) and person.joints2d_score.shape == (18,)
    assert person.joints3d_m.shape == (21, 3) and person.joints3d_score.shape == (21,)
    assert person.rotations_quat_wxyz.shape == (21, 4) and person.root_m.shape == (3,)
    for value in (person.joints2d_px, person.joints3d_m, person.rotations_quat_wxyz):
        assert np.isfinite(value).all()
    assert ((person.joints2d_score >= 0) & (person.joints2d_score <= 1)).all()
    seen = person.joints2d_px[person.joints2d_score > 0]
    assert ((seen > -10) & (seen < (width + 10, height + 10))).all()
    np.testing.assert_allclose(np.linalg.norm(person.rotations_quat_wxyz, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(person.joints3d_m[BODY.root], person.root_m, atol=1e-6)
    assert person.root_m[2] > 0.3
    bones = person.joints3d_m - person.joints3d_m[list(BODY.parents)]
    lengths = np.linalg.norm(bones, axis=1)
    lengths[BODY.root] = 0
    np.testing.assert_allclose(lengths, person.bone_lengths_m, atol=1e-5)


def test_the_demo_clip_has_people_in_every_frame(pipeline, clip):
    results = list(pipeline.stream(clip, fps=15))
    assert len(results) == len(clip)
    counts = [len(r.people) for r in results]
    assert np.mean(np.array(counts) >= 2) > 0.7, counts
    for result in results:
        assert set(result.timings_ms) == set(STAGES)
        assert not result.camera.calibrated
        for person in result.people:
            check_person(person, *result.image_hw)


def test_bone_lengths_stay_over_time(pipeline, clip):
    seen = {}
    for result in pipeline.stream(clip, fps=15):
        for person in result.people:
            first = seen.setdefault(person.track_id, person.bone_lengths_m)
            np.testing.assert_allclose(person.bone_lengths_m, first, atol=1e-6)
    assert seen


@pytest.mark.parametrize("fps", [0, -30, np.nan, np.inf, "30", None])
def test_a_rate_that_is_no_rate_is_refused(pipeline, clip, fps):
    with pytest.raises(BadInput, match=f"fps must be a positive number, got {fps!r}"):
        next(pipeline.stream(clip, fps=fps))


def test_people_keep_their_numbers_where_the_pictures_change_their_size(pipeline, clip):
    half = [picture if i < 5 else np.ascontiguousarray(picture[::2, ::2]) for i, picture in
            enumerate(clip[8:18])]  # fmt: skip
    results = list(pipeline.stream(half, fps=15))
    assert results[9].image_hw == (clip[0].shape[0] // 2, clip[0].shape[1] // 2)
    numbers = [[person.track_id for person in result.people] for result in results]
    assert numbers[4]
    assert numbers[5:] == [numbers[4]] * 5


def test_a_stream_goes_on_where_the_pictures_are_turned(pipeline, clip):
    frames = [*clip[8:11], *(np.ascontiguousarray(picture[:, 200:450]) for picture in clip[11:15])]
    results = list(pipeline.stream(frames, fps=15))
    assert results[6].image_hw == (clip[0].shape[0], 250)
    for result in results:
        assert len({person.track_id for person in result.people}) == len(result.people)
        for person in result.people:
            assert np.isfinite(person.joints3d_m).all()


@pytest.mark.parametrize("kind", [float, int, np.float32])
def test_rates_up_to_1000_have_their_times_and_more_are_refused(pipeline, kind):
    images = [np.zeros((16, 16, 3), np.uint8)] * 3
    times_s = [result.time_s for result in pipeline.stream(images, fps=kind(1000))]
    np.testing.assert_allclose(times_s, (0, 0.001, 0.002), atol=1e-9)
    with pytest.raises(BadInput, match="fps must be at most 1000, got 2000"):
        next(pipeline.stream(images, fps=kind(2000)))


@pytest.mark.parametrize("shape", [(3, 64, 3), (64, 64)])
def test_one_picture_is_no_stream(pipeline, shape):
    image = np.zeros(shape, np.uint8)
    with pytest.raises(BadInput, match="got one array of shape"):
        next(pipeline.stream(image))
    assert len(list(pipeline.stream([image]))) == 1


def test_one_picture_has_no_memory(pipeline, clip):
    first, other = pipeline(clip[0]), pipeline(clip[10])
    again = pipeline(clip[0])
    assert len(first.people) == len(again.people)
    for a, b in zip(first.people, again.people, strict=True):
        np.testing.assert_array_equal(a.joints3d_m, b.joints3d_m)
        assert a.track_id == 0
    assert other.index == 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((240, 320), np.uint8),
        np.full((240, 320, 4), 127, np.uint8),
        np.zeros((120, 500, 3), np.uint16),
        np.full((64, 48, 3), 0.5, np.float32),
        np.zeros((2000, 30, 3), np.uint8),
    ],
    ids=["1 pixel", "grey", "RGBA", "16 bit", "float", "a strip"],
)
def test_an_empty_picture_of_any_kind_is_a_normal_result(pipeline, image):
    result = pipeline(image)
    assert result.image_hw == image.shape[:2]
    assert len(result.people) <= 1


def test_a_known_camera_scales_with_the_picture(pipeline, clip):
    known = Camera(600, 600, 319.5, 199.5, 640, 400)
    with_camera = load_pipeline(device="cpu", camera=known)
    assert with_camera(clip[0]).camera.calibrated
    half = np.ascontiguousarray(clip[0][::2, ::2])
    assert with_camera(half).camera.fx_px == pytest.approx(300)
    with pytest.raises(BadInput, match="640x400"):
        with_camera(np.zeros((100, 100, 3), np.uint8))


def test_a_taller_person_stands_farther_away(clip):
    small, tall = (load_pipeline(device="cpu", height_m=h)(clip[0]) for h in (1.5, 2.0))
    assert len(small.people) == len(tall.people) > 0
    for a, b in zip(small.people, tall.people, strict=True):
        np.testing.assert_allclose(b.root_m, a.root_m * 2.0 / 1.5, rtol=0.05, atol=0.05)


def test_plot_and_save_give_a_picture_and_a_recording(pipeline, clip, tmp_path):
    from xnect.recording import load_recording

    result = pipeline(clip[0])
    drawn = result.plot(clip[0])
    assert drawn.shape == clip[0].shape and (drawn != clip[0]).any()
    assert (result.plot() == drawn).all()
    for same in (clip[0] / np.float32(255), np.dstack([clip[0], clip[0][..., :1]])):
        assert (result.plot(same) == drawn).all()
    (of_video,) = pipeline.stream(clip[:1])
    assert of_video.image is None
    assert of_video.plot().shape == clip[0].shape
    path = result.save(tmp_path / "one.npz")
    again = load_recording(path)
    assert len(again.results[0].people) == len(result.people)


def test_wrong_weights_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(BadWeights, match="no weights file"):
        load_network(tmp_path / "none.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk" * 100)
    with pytest.raises(BadWeights, match="not a whole safetensors"):
        load_network(tmp_path / "junk.safetensors")
    whole = bundled_weights("s").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadWeights, match="not a whole safetensors"):
        load_network(tmp_path / "half.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match="expected weights of Stage I"):
        load_network(tmp_path / "other.safetensors")
    state = build_network("s").state_dict()
    del state["pose2d.out.weight"]
    save_weights(tmp_path / "lacking.safetensors", state, {"preset": "s"})
    with pytest.raises(BadWeights, match=r"pose2d\.out\.weight"):
        load_network(tmp_path / "lacking.safetensors")
    with pytest.raises(BadWeights, match="for preset 's', not 'm'"):
        load_network(bundled_weights("s"), "m")


def test_the_second_look_takes_a_size_or_a_file_of_the_users_own(tmp_path):
    preset = REFINERS["s"]
    own = tmp_path / "own.safetensors"
    metadata = {"architecture": REFINER_NAME, "preset": "s"}
    save_weights(own, Refiner(preset).state_dict(), metadata)
    taken = load_pipeline(refiner=own).refiner
    assert taken is not None and taken.attention is None  # `sa`, the default, has attention
    assert load_pipeline(refiner="sa").refiner.attention is not None
    assert load_pipeline(refiner=own, refine=False).refiner is None
    with pytest.raises(BadWeights, match=r"no weights file at huge; .* or sa or m"):
        load_pipeline(refiner="huge")


def test_the_wide_second_look_sees_the_same_people(pipeline, clip):
    wide = load_pipeline(device="cpu", refiner="m")
    *_, narrow = pipeline.stream(clip)
    *_, other = wide.stream(clip)
    assert len(other.people) == len(narrow.people) == 3
    for person in other.people:
        away = [
            np.median(np.linalg.norm(person.joints2d_px - p.joints2d_px, axis=1))
            for p in narrow.people
        ]
        assert min(away) < 0.02 * clip[0].shape[1]


def test_open_weights_are_not_mixed_with_research_ones():
    research = refiner_file("sa", "research")
    with pytest.raises(BadWeights, match="is of the research lane"):
        load_pipeline(lane="open", refiner=research)
    with pytest.raises(BadWeights, match="is of the research lane"):
        load_pipeline(lane="open", weights=bundled_weights("s", "research"))
    assert load_pipeline(lane="open", refiner=research, refine=False).refiner is None


def test_a_size_without_weights_names_those_that_have_some(monkeypatch, tmp_path):
    monkeypatch.setattr("xnect.model.WEIGHTS", tmp_path)
    with pytest.raises(BadWeights, match="refiner 'm' has no bundled weights in lane open"):
        refiner_file("m", "open")


def test_names_that_do_not_exist_list_those_that_do():
    with pytest.raises(UnknownName, match="known: m, s"):
        load_pipeline("huge")
    with pytest.raises(UnknownName, match="auto, cpu, cuda, mps"):
        pick_device("tpu")
    with pytest.raises(BadInput, match=r"0\.4 to 2\.6"):
        load_pipeline(height_m=17.0)


def test_weights_survive_saving(tmp_path):
    network = load_network(bundled_weights("s"))
    save_weights(tmp_path / "again.safetensors", network.state_dict(), {"preset": "s"})
    again = load_network(tmp_path / "again.safetensors")
    for a, b in zip(network.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_skeleton_names_its_joints_and_parents():
    assert BODY.names == JOINTS3D and len(BODY.parents) == 21
    assert BODY.names[BODY.root] == "pelvis"


def test_single_pictures_are_mirrored_as_well_and_streams_are_not(monkeypatch):
    import xnect.pipeline

    asked = []

    def noted(network, images):
        asked.append("flip")
        return network(images)

    monkeypatch.setattr(xnect.pipeline, "flip_tested", noted)
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    for flip, single, stream in ((None, 1, 0), (True, 1, 1), (False, 0, 0)):
        pipeline = load_pipeline(flip_test=flip)
        asked.clear()
        pipeline(image)
        assert len(asked) == single
        asked.clear()
        list(pipeline.stream([image]))
        assert len(asked) == stream


def test_a_stream_takes_what_a_single_picture_may_be():
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    pipeline = load_pipeline()
    for kind in (Image.fromarray(image), image.astype(np.uint16) * 257, image[..., 0]):
        (result,) = pipeline.stream([kind])
        assert result.image_hw == (120, 160)


def test_a_camera_of_another_resolution_is_scaled_and_that_is_said_once(caplog):
    pipeline = load_pipeline(camera=Camera.guess(480, 640))
    with caplog.at_level("WARNING"):
        for _ in range(3):
            scaled = pipeline.camera_for(np.zeros((240, 320, 3), np.uint8))
        assert pipeline.camera_for(np.zeros((480, 640, 3), np.uint8)) is pipeline.camera
    assert scaled.fx_px == pytest.approx(pipeline.camera.fx_px / 2)
    assert [r.getMessage() for r in caplog.records] == [
        "the camera is for 640x480 pictures; its intrinsics are scaled to 320x240"
    ]


def test_who_is_hardly_there_is_not_given_out_of_a_single_picture(monkeypatch):
    from dataclasses import replace

    from tests.test_refine import somebody
    from xnect.presence import PresenceOptions

    least = PresenceOptions().single_at_least
    pipeline = load_pipeline()
    sure, faint = (
        replace(somebody((x, 120), 80.0), person_score=score)
        for x, score in ((90, least + 0.01), (200, least - 0.01))
    )
    monkeypatch.setattr(pipeline, "_partials", lambda *_, **__: [sure, faint])
    image = np.zeros((240, 320, 3), np.uint8)
    (person,) = pipeline(image).people
    assert abs(person.joints2d_px[:, 0].mean() - 90) < 40
    assert len(pipeline.find(image)) == 2


def test_every_bundled_file_has_the_licence_of_its_lane():
    files = sorted(WEIGHTS.glob("*/*.safetensors"))
    assert {path.parent.name for path in files} == set(LANES) == set(LICENCES)
    for path in files:
        licence, lane = file_metadata(path)["licence"], path.parent.name
        assert licence.split(":")[0] == LICENCES[lane].split(":")[0], path
        assert path.with_suffix(".md").is_file(), f"{path} has no data card"


def test_an_open_pipeline_opens_open_files_only(monkeypatch):
    opened = []
    for name in ("load_network", "load_refiner", "load_lifter"):
        load = getattr(model, name)

        def watched(path, *given, load=load):
            opened.append(path)
            return load(path, *given)

        monkeypatch.setattr(model, name, watched)
    load_pipeline(lane="open")
    assert {path.parent.name for path in opened} == {"open"}
    assert {path.stem for path in opened} == {"stage1_s", "refiner", "lifter_refined"}
    with pytest.raises(UnknownName, match="lane"):
        load_pipeline(lane="secret")
