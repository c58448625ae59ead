"""`xnect calibrate` as a user runs it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from boards import CAMERA, CHARUCO, CHESS, exact_view, poses, render
from cameras import mjpeg_camera
from gait import floor_camera, to_camera, walker
from movies import write_movie
from PIL import Image

from xnect.calib.board import Board, View, find_board
from xnect.calib.camera import Camera
from xnect.calib.errors import CannotCalibrate
from xnect.calib.file import load_camera, load_origin, save_camera
from xnect.demo import calibrate_views
from xnect.demo.__main__ import main
from xnect.demo.calibrate_views import Collected, guide, views_of_frames
from xnect.errors import CannotOpenSource
from xnect.recording import save_recording
from xnect.skeleton import BODY, J2D, J3D
from xnect.types import Frame, Person, Result

BOARD = ["--board", "chessboard", "9x6", "--square", "0.025"]


def run(*words: object) -> int:
    return main(["calibrate", *(str(word) for word in words)])


def write(path: Path, image: np.ndarray) -> Path:
    cv2.imwrite(str(path), image[..., ::-1])
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven pictures of the chessboard, and one without it."""
    folder = tmp_path_factory.mktemp("photos")
    for i, pose in enumerate(poses(CHESS, 7)):
        write(folder / f"{i}.png", render(CHESS, pose, seed=i))
    write(folder / "empty.png", np.full((480, 640, 3), 99, np.uint8))
    return folder


def test_pictures_to_camera_file_and_yaml(photos: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "camera.json"
    assert run(photos, *BOARD, "-o", out) == 0
    said = capsys.readouterr().out
    assert "empty.png: no chessboard 9x6 is seen" in said
    assert "0.png: 0." in said and "% of the picture covered" in said
    camera, origin = load_camera(out), load_origin(out)
    assert camera.fx_px == pytest.approx(CAMERA.fx_px, rel=0.01)
    assert origin.source == "chessboard 9x6, 7 of 7 views"
    assert origin.reprojection_error_px < 0.2 and 0 < origin.fx_sd_px < 6
    assert run("--camera", out, "-o", tmp_path / "camera.yml", "--quiet") == 0
    assert load_camera(tmp_path / "camera.yml").fx_px == camera.fx_px


def test_a_board_on_the_floor_is_added_to_the_camera(tmp_path: Path) -> None:
    turn = cv2.Rodrigues(np.array((-1.0, 0.0, 0.0)))[0]
    shift = np.array((0.0, 0.03, 0.40)) - turn @ CHESS.corners_m.mean(0)
    image = write(tmp_path / "floor.png", render(CHESS, np.column_stack([turn, shift])))
    out = save_camera(tmp_path / "camera.json", CAMERA)
    assert run("--camera", out, "--floor-board", image, *BOARD, "-o", out, "--quiet") == 0
    floor = load_camera(out).floor
    assert floor.tilt_rad == pytest.approx(math.pi / 2 - 1.0, abs=0.02)
    assert "floor.png" in load_origin(out).floor_source


def test_the_camera_of_a_recording_goes_over_the_floor_of_a_board(tmp_path: Path) -> None:
    turn = cv2.Rodrigues(np.array((-1.0, 0.0, 0.0)))[0]
    shift = np.array((0.0, 0.03, 0.40)) - turn @ CHESS.corners_m.mean(0)
    image = write(tmp_path / "floor.png", render(CHESS, np.column_stack([turn, shift])))
    take = save_recording(tmp_path / "a.npz", [Result(0, 0.0, (480, 640), CAMERA, ())])
    out = tmp_path / "camera.json"  # nobody's feet are in the recording
    assert run("--from-recording", take, "--floor-board", image, *BOARD, "-o", out) == 0
    assert load_camera(out).fx_px == CAMERA.fx_px
    assert load_camera(out).floor.tilt_rad == pytest.approx(math.pi / 2 - 1.0, abs=0.02)
    assert "floor.png" in load_origin(out).floor_source


def test_points_on_the_floor_are_added_to_the_camera(tmp_path: Path, capsys) -> None:
    camera = floor_camera(tilt_deg=20)
    places = np.array([(-1.0, 0, 3), (1.2, 0, 3.2), (1, 0, 6), (-1.1, 0, 5.5)])
    seen = camera.project(to_camera(places, camera.floor))
    words = [f"{u:.1f},{v:.1f},{p[0]:g},{p[2]:g}" for (u, v), p in zip(seen, places, strict=True)]
    out = save_camera(tmp_path / "camera.json", Camera(1000, 1000, 639.5, 359.5, 1280, 720))
    assert run("--camera", out, "-o", out, "--floor-points", *words) == 0
    assert load_camera(out).floor.tilt_rad == pytest.approx(math.radians(20), abs=0.01)
    assert "4 marks" in capsys.readouterr().out


def recording_of_walkers(
    path: Path, camera: Camera, *, known: Camera, seconds=8.0, small_from_s=math.inf
) -> Path:
    """A recording as `xnect video` makes it of four people who walk, with noise of 2 px.

    From some time on pictures have half the size.
    """
    full, full_known = camera, known
    rng = np.random.default_rng(0)
    walks = [walker(rng, seconds) for _ in range(4)]
    results = []
    for frame, time_s in enumerate(walks[0][0]):
        camera, known = full, full_known
        if time_s >= small_from_s:
            camera, known = (c.resized(360, 640) for c in (full, full_known))
        people = []
        for number, (_, ankles, toes, necks, crowns) in enumerate(walks):
            world = np.zeros((21, 3))
            for side, foot in (("left", 0), ("right", 1)):
                hip = np.array((0.1 - 0.2 * foot, -0.62, 0)) + necks[frame]
                world[J3D[f"{side}_ankle"]], world[J3D[f"{side}_foot"]] = (
                    ankles[frame, foot],
                    toes[frame, foot],
                )
                world[J3D[f"{side}_hip"]] = hip
                world[J3D[f"{side}_knee"]] = (hip + ankles[frame, foot]) / 2
            world[J3D["neck"]], world[J3D["head_top"]] = necks[frame], crowns[frame]
            joints = to_camera(world, camera.floor)
            pixels = np.zeros((18, 2))
            for name in ("neck", "left_ankle", "right_ankle"):
                pixels[J2D[name]] = camera.project(joints[J3D[name]]) + rng.normal(0, 2, 2)
            score = (pixels != 0).all(1).astype(float)
            depth = joints[:, 2:] * known.fy_px / camera.fy_px
            guess = np.concatenate([known.rays(camera.project(joints)) * depth, depth], 1)
            people.append(Person(
                pixels, score, guess, np.ones(21), number + 1, 1.0,
                np.tile((1.0, 0, 0, 0), (21, 1)),
                guess[J3D["pelvis"]], BODY.lengths_m,
            ))  # fmt: skip
        hw = (camera.height_px, camera.width_px)
        results.append(Result(frame, float(time_s), hw, known, tuple(people)))
    return save_recording(path, results)


def test_people_who_walk_give_focal_length_and_floor(tmp_path: Path, capsys) -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    take = recording_of_walkers(tmp_path / "a.npz", camera, known=Camera.guess(720, 1280))
    out = tmp_path / "camera.json"
    assert run("--from-recording", take, "-o", out) == 0
    found = load_camera(out)
    assert found.fx_px == pytest.approx(1000, rel=0.1)
    assert found.floor.distance_m == pytest.approx(2.4, rel=0.1)
    assert load_origin(out).fx_sd_px < 100
    assert "people walking in a.npz" in capsys.readouterr().out
    # with a known camera, the floor only
    known = save_camera(tmp_path / "known.json", Camera(1000, 1000, 639.5, 359.5, 1280, 720))
    assert run("--camera", known, "--from-recording", take, "-o", out, "--quiet") == 0
    assert load_camera(out).fx_px == 1000
    assert "feet of people" in load_origin(out).floor_source
    assert math.degrees(load_camera(out).floor.tilt_rad) == pytest.approx(18, abs=3)


@pytest.mark.parametrize(
    ("camera", "known"),
    [
        ((750, 1000, 639.5, 359.5), None),
        ((1000, 1000, 639.5, 359.5), (1000, 1000, 639.5, 459.5)),
        ((1000, 1000, 639.5, 359.5), (1000, 800, 639.5, 359.5)),
    ],
    ids=["oblong pixels", "another middle", "another vertical focal length"],
)
def test_a_recording_by_another_camera_gives_the_floor_of_the_given_one(
    tmp_path: Path, camera: tuple, known: tuple | None
) -> None:
    true = Camera(*camera, 1280, 720, floor=floor_camera(tilt_deg=18, height_m=2.4).floor)
    by = Camera(*known, 1280, 720) if known else Camera.guess(720, 1280)
    take = recording_of_walkers(tmp_path / "a.npz", true, known=by)
    given, out = (
        save_camera(tmp_path / "given.json", replace(true, floor=None)),
        tmp_path / "o.json",
    )
    assert run("--camera", given, "--from-recording", take, "-o", out, "--quiet") == 0
    assert load_camera(out).floor.distance_m == pytest.approx(2.4, rel=0.07)
    assert math.degrees(load_camera(out).floor.tilt_rad) == pytest.approx(18, abs=2)


def test_a_recording_whose_pictures_change_their_size_gives_the_floor(tmp_path: Path) -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    take = recording_of_walkers(
        tmp_path / "a.npz", camera, known=Camera.guess(720, 1280), seconds=12.0, small_from_s=2.0
    )
    given, out = (
        save_camera(tmp_path / "given.json", replace(camera, floor=None)),
        tmp_path / "o.json",
    )
    for words in (("--camera", given), ()):
        assert run(*words, "--from-recording", take, "-o", out, "--quiet") == 0
        assert load_camera(out).fx_px == pytest.approx(1000, rel=0.1)
        assert load_camera(out).floor.distance_m == pytest.approx(2.4, rel=0.1)
        assert math.degrees(load_camera(out).floor.tilt_rad) == pytest.approx(18, abs=3)


def test_a_board_to_print_is_written(tmp_path: Path, capsys) -> None:
    words = [
        "--board",
        "charuco",
        "5x7",
        "--square",
        "0.03",
        "--marker",
        "0.022",
        "--dict",
        "5x5_100",
    ]
    assert run("--print-board", tmp_path / "b.pdf", *words) == 0
    assert "210 x 270 mm" in capsys.readouterr().out
    assert (tmp_path / "b.pdf").stat().st_size > 1000


def test_a_video_gives_views_that_differ(monkeypatch) -> None:
    """Frames in which the board stands still give one view; detection is tested elsewhere."""
    shown = poses(CHESS, 3)

    def seen(image: np.ndarray, board, *, name="", thorough=True) -> View:
        number = int(image[0, 0, 0])
        if number == 9:
            raise CannotCalibrate("no chessboard 9x6 is seen; show all of it")
        return exact_view(board, shown[number], name=name, seed=number)

    monkeypatch.setattr(calibrate_views, "find_board", seen)
    numbers = [0, 0, 0, 9, 1, 1, 9, 2, 2, 0]
    frames = [Frame(i, 0.25 * i, np.full((48, 64, 3), n, np.uint8)) for i, n in enumerate(numbers)]
    found = views_of_frames(frames, CHESS)
    assert len(found.views) == 3
    assert found.problems == ["2 of 10 frames: no chessboard 9x6 is seen; show all of it"]
    waited = views_of_frames(frames, CHESS, wait_still=True)
    assert len(waited.views) == 3  # each was held still for two looks
    hurried = views_of_frames(frames[2:4] + frames[4:5] + frames[6:8], CHESS, wait_still=True)
    assert not hurried.views
    told: list[str] = []
    views_of_frames(frames, CHESS, stop=lambda: len(told) > 2, progress=told.append)
    assert len(told) == 3 and "1 views" in told[-1] and "now the" in told[-1]


def test_a_video_of_a_board_gives_the_camera(tmp_path: Path, capsys) -> None:
    shown = [render(CHESS, pose, seed=i) for i, pose in enumerate(poses(CHESS, 7))]
    video = write_movie(
        tmp_path / "board.mp4", [0.25 * i for i in range(7)], hw=(480, 640), show=shown.__getitem__
    )
    out = tmp_path / "camera.json"
    assert run(video, *BOARD, "-o", out) == 0
    assert load_camera(out).fx_px == pytest.approx(CAMERA.fx_px, rel=0.02)
    assert load_origin(out).source == "chessboard 9x6, 7 of 7 views"
    assert "frame 0 (0.0 s): 0." in capsys.readouterr().out


def test_a_source_that_breaks_keeps_the_views_before(tmp_path: Path, monkeypatch) -> None:
    def breaking(count: int) -> Iterator[Frame]:
        for i in range(count):
            yield Frame(i, 0.25 * i, np.full((48, 64, 3), i, np.uint8))
        raise CannotOpenSource("it is damaged")

    shown = poses(CHESS, 3)
    monkeypatch.setattr(
        calibrate_views, "find_board",
        lambda image, board, *, name="", thorough=True: exact_view(
            board, shown[int(image[0, 0, 0])], name=name, seed=1
        ),
    )  # fmt: skip
    found = views_of_frames(breaking(3), CHESS)
    assert len(found.views) == 3 and found.problems == ["it is damaged"]
    with pytest.raises(CannotOpenSource, match="damaged"):
        views_of_frames(breaking(0), CHESS)


def test_a_video_of_a_mirrored_board_says_so(tmp_path: Path, capsys) -> None:
    board = Board("charuco", 7, 5, 0.035, 0.0265)
    shown = [np.fliplr(render(board, pose, seed=i)) for i, pose in enumerate(poses(board, 4))]
    times_s = [0.25 * i for i in range(12)]
    video = write_movie(tmp_path / "board.mp4", times_s, hw=(480, 640), show=lambda i: shown[i % 4])
    words = ["--board", "charuco", "7x5", "--square", "0.035", "--marker", "0.0265", "--quiet"]
    assert run(video, *words, "-o", tmp_path / "camera.json") == 2
    said = capsys.readouterr().err
    assert "mirrored" in said and "switch off" in said
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, image in enumerate(shown):
        Image.fromarray(image).save(pictures / f"{i}.png")
    assert run(pictures, *words, "-o", tmp_path / "camera.json") == 2
    assert "mirrored" in capsys.readouterr().err


def test_a_live_camera_is_calibrated_while_the_board_is_held_before_it(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    """A network camera; the board goes on to its next place when it was looked at four times."""
    shown = [render(CHESS, pose, seed=i) for i, pose in enumerate(poses(CHESS, 6))]
    looks: list[str] = []

    def looked_at(image: np.ndarray, board, *, name="", thorough=True) -> View:
        looks.append(name)
        return find_board(image, board, name=name, thorough=thorough)

    monkeypatch.setattr(calibrate_views, "find_board", looked_at)
    monkeypatch.setattr(calibrate_views, "STEP_S", 0.02)
    monkeypatch.setattr(Collected, "complete", property(lambda self: len(self.views) >= 6))
    out = tmp_path / "camera.json"
    with mjpeg_camera(fps=30, show=lambda _: shown[len(looks) // 4 % 6]) as (url, _):
        assert run(url, *BOARD, "-o", out, "--headless", "--seconds", "120") == 0
    assert len(looks) >= 12  # a view is taken of a board that was seen twice at one place
    assert load_camera(out).fx_px == pytest.approx(CAMERA.fx_px, rel=0.02)
    assert load_origin(out).source == "chessboard 9x6, 6 of 6 views"
    assert "view 1: 0." in capsys.readouterr().out


def test_a_live_camera_that_never_sees_the_board_says_so_and_writes_nothing(
    tmp_path: Path, capsys
) -> None:
    grey = np.full((120, 160, 3), 99, np.uint8)
    with mjpeg_camera(show=lambda _: grey) as (url, _):
        words = ["--headless", "--seconds", "1", "--quiet"]
        assert run(url, *BOARD, "-o", tmp_path / "camera.json", *words) == 2
    assert "no view of the board" in capsys.readouterr().err
    assert not (tmp_path / "camera.json").exists()


def test_the_angle_of_view_is_that_of_the_picture_of_the_floor(tmp_path: Path) -> None:
    turn = cv2.Rodrigues(np.array((-1.0, 0.0, 0.0)))[0]
    shift = np.array((0.0, 0.03, 0.40)) - turn @ CHESS.corners_m.mean(0)
    image = write(tmp_path / "floor.png", render(CHESS, np.column_stack([turn, shift])))
    fov = math.degrees(2 * math.atan(320 / CAMERA.fx_px))
    out = tmp_path / "camera.json"
    assert run("--fov", f"{fov:.2f}", "--floor-board", image, *BOARD, "-o", out, "--quiet") == 0
    assert load_camera(out).fx_px == pytest.approx(CAMERA.fx_px, rel=0.01)
    assert load_camera(out).floor.tilt_rad == pytest.approx(math.pi / 2 - 1.0, abs=0.04)


def test_taller_people_make_the_camera_higher(tmp_path: Path) -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    take = recording_of_walkers(
        tmp_path / "a.npz", camera, known=replace(camera, floor=None), seconds=5
    )
    high_m = []
    for height in ("1.60", "1.76"):
        out = tmp_path / f"{height}.json"
        assert run("--from-recording", take, "--height", height, "-o", out, "--quiet") == 0
        high_m.append(load_camera(out).floor.distance_m)
    assert high_m[1] / high_m[0] == pytest.approx(1.1, abs=0.02)


def test_the_guide_shows_what_is_covered() -> None:
    image = np.full((480, 640, 3), 100, np.uint8)
    collected = Collected([exact_view(CHESS, poses(CHESS, 1)[0])])
    picture = guide(image, collected)
    assert picture.shape == image.shape and (image == 100).all()
    greener = (picture[..., 1] == 160) & (picture[..., 0] == 100)
    x, y = collected.views[0].corners_px.mean(0).astype(int)
    assert greener[y - 3 : y + 4, x - 3 : x + 4].any()
    assert 0.01 < greener.mean() < 0.6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to calibrate from"),
        (["nothing*.jpg", *BOARD], "no such file"),
        (["photo.jpg"], "say which board"),
        (["photo.jpg", "--board", "chessboard", "9"], "9x6"),
        (["photo.jpg", "--board", "circles", "9x6"], "chessboard, charuco"),
        (["photo.jpg", *BOARD, "--exif", "photo.jpg"], "one source of the camera"),
        (["--exif", "missing.jpg"], "no such file"),
        (["--fov", "60"], "needs a picture's size"),
        (["--print-board", "b.pdf", "--board", "charuco", "5x7"], "needs --square"),
        (["--camera", "missing.json"], "cannot read the camera file"),
        (["--from-recording", "missing.npz"], "there is no recording"),
        (["photo.jpg", *BOARD], "no view of the board: cannot open photo.jpg: it is not a picture"),
    ],
)
def test_mistakes_get_one_sentence(
    words: list, said: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(b"no picture")
    assert run(*words, "--quiet") == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert not Path("camera.json").exists()


def test_a_folder_that_cannot_be_made_is_said_before_any_work(
    photos: Path, tmp_path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    assert run(str(photos), *BOARD, "-o", str(tmp_path / "file" / "camera.json")) == 2
    captured = capsys.readouterr()
    assert "cannot write into" in captured.err
    assert not captured.out  # no report of a calibration


def test_the_folder_of_the_camera_file_is_made(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(
        '{"fx": 500, "fy": 500, "cx": 319.5, "cy": 239.5, "width": 640, "height": 480}'
    )
    out = tmp_path / "new" / "camera.yml"
    assert run("--camera", str(tmp_path / "c.json"), "-o", str(out), "--quiet") == 0
    assert [path.name for path in out.parent.iterdir()] == ["camera.yml"]


def test_a_floor_point_that_is_none_is_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        run("--camera", "c.json", "--floor-points", "1,2,3")
    assert "four numbers" in capsys.readouterr().err


def test_a_camera_of_another_size_is_scaled_aloud_or_refused(tmp_path: Path, capsys) -> None:
    camera = floor_camera(tilt_deg=18, height_m=2.4)
    take = recording_of_walkers(
        tmp_path / "a.npz", camera, known=Camera.guess(720, 1280), seconds=5
    )
    out = tmp_path / "camera.json"
    half = save_camera(tmp_path / "half.json", Camera(500, 500, 319.5, 179.5, 640, 360))
    assert run("--camera", half, "--from-recording", take, "-o", out, "--quiet") == 0
    assert "calibrated at 640x360 and is scaled to 1280x720" in capsys.readouterr().err
    assert load_camera(out).width_px == 640  # the file stays as it was calibrated
    other = save_camera(tmp_path / "other.json", Camera(500, 500, 319.5, 239.5, 640, 480))
    assert run("--camera", other, "--from-recording", take, "-o", out, "--quiet") == 2
    assert "cannot be scaled to 1280x720" in capsys.readouterr().err


def test_charuco_is_taken_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pose in enumerate(poses(CHARUCO, 5, seed=2)):
        write(folder / f"{i}.png", render(CHARUCO, pose, seed=i))
    words = ["--board", "charuco", "7x5", "--square", "0.035", "--marker", "0.026"]
    assert run(folder, *words, "-o", tmp_path / "c.json", "--quiet") == 0
    values = json.loads((tmp_path / "c.json").read_text())
    assert values["fx"] == pytest.approx(CAMERA.fx_px, rel=0.02)
    assert values["origin"]["source"].startswith("charuco 7x5")
