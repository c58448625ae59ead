"""A take on disk: one `.npz` that says everything, and a `.json` beside it for people.

People come and go, so everything about a person is one row of a flat table: row r describes the
person `track_id[r]` in the frame at position `person_frame[r]`.  Nothing is padded.  The arrays are
float32 (a coordinate of 10 m is kept to 1 µm), times are float64.

While it is recorded, a take is a spool (`xnect/spool.py`) beside the target, `take.npz.spool`, so
that no frame is lost when the process dies; `load_recording` reads either.
"""

from __future__ import annotations

import json
import logging
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from xnect import __version__
from xnect.angles import ANGLES, euler_deg, joint_angles_deg
from xnect.atomic import replacing
from xnect.calib.camera import Camera
from xnect.calib.floor import Floor
from xnect.describe import ARRAYS, FORMAT, FORMAT_VERSION, describe
from xnect.errors import BadInput, CannotWrite
from xnect.skeleton import BODY, JOINTS2D, JOINTS3D, Skeleton
from xnect.spool import Spool, is_spool, records
from xnect.times import usual_step_s
from xnect.types import Person, Result

UNCALIBRATED = "uncalibrated: depth is proportional to the assumed height and focal length"

PERSON_ROW = np.dtype(
    [
        ("track_id", "<i8"),
        ("score", "<f4"),
        ("joints2d_px", "<f4", (len(JOINTS2D), 2)),
        ("joints2d_score", "<f4", (len(JOINTS2D),)),
        ("joints3d_m", "<f4", (len(JOINTS3D), 3)),
        ("joints3d_score", "<f4", (len(JOINTS3D),)),
        ("rotations_quat_wxyz", "<f4", (len(JOINTS3D), 4)),
        ("root_m", "<f4", (3,)),
        ("bone_lengths_m", "<f4", (len(JOINTS3D),)),
        ("filled", "?"),
        ("stature_sd_m", "<f4"),
    ]
)
"""One person in one frame, as it lies in the spool; the names are those of `Person`."""

_LATER = ("filled", "stature_sd_m")
"""Fields that older recordings lack; spools that do not say their fields are older than these."""

_FIRST = tuple(name for name in PERSON_ROW.names or () if name not in _LATER)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A take.  Sizes: F frames, N rows (one per person and frame), S stages."""

    frame_index: np.ndarray  # (F,) number of the picture in its source
    time_s: np.ndarray  # (F,) time of capture or presentation
    image_hw: np.ndarray  # (F, 2) pixels
    camera_number: np.ndarray  # (F,) into `cameras`
    timings_ms: np.ndarray  # (F, S) nan where a stage did not run
    person_frame: np.ndarray  # (N,) position of the frame in the arrays above, ascending
    track_id: np.ndarray  # (N,) who
    score: np.ndarray  # (N,) 0..1
    joints2d_px: np.ndarray  # (N, 18, 2) pixels of the given picture
    joints2d_score: np.ndarray  # (N, 18) 0 = absent
    joints3d_m: np.ndarray  # (N, 21, 3) camera axes
    joints3d_score: np.ndarray  # (N, 21)
    rotations_quat_wxyz: np.ndarray  # (N, 21, 4) against the parent; the root's camera from rest
    root_m: np.ndarray  # (N, 3) pelvis, camera axes
    bone_lengths_m: np.ndarray  # (N, 21) of the identity as it was known in that frame
    filled: np.ndarray  # (N,) bool: not seen in that frame, put in by `smooth_take`
    stature_sd_m: np.ndarray  # (N,) standard deviation of the stature of these bones; nan: unknown
    stages: tuple[str, ...]
    cameras: tuple[Camera, ...]  # usually one
    fps: float  # nominal
    source: str
    notes: tuple[str, ...]
    skeleton: Skeleton
    version: str  # of the xnect that recorded it

    @property
    def track_ids(self) -> tuple[int, ...]:
        """Everybody in the take, ascending."""
        return tuple(int(i) for i in np.unique(self.track_id))

    @property
    def joint_angles_deg(self) -> np.ndarray:
        """(N, 24) degrees of flexion, abduction and so on, columns as in `xnect.angles.ANGLES`."""
        return joint_angles_deg(self.rotations_quat_wxyz)

    @property
    def euler_deg(self) -> np.ndarray:
        """(N, 21, 3) degrees of each joint in the order `xnect.angles.EULER_ORDER`."""
        return euler_deg(self.rotations_quat_wxyz)

    @property
    def results(self) -> tuple[Result, ...]:
        """The frames as they were appended, in float32."""
        bounds = np.searchsorted(self.person_frame, np.arange(len(self.frame_index) + 1))
        return tuple(
            Result(
                int(self.frame_index[i]),
                float(self.time_s[i]),
                (int(self.image_hw[i, 0]), int(self.image_hw[i, 1])),
                self.cameras[int(self.camera_number[i])],
                tuple(self._person(r) for r in range(bounds[i], bounds[i + 1])),
                {
                    stage: float(ms)
                    for stage, ms in zip(self.stages, self.timings_ms[i], strict=True)
                    if not math.isnan(ms)
                },
            )
            for i in range(len(self.frame_index))
        )

    def _person(self, row: int) -> Person:
        values = {name: getattr(self, name)[row] for name in PERSON_ROW.names or ()}
        values["track_id"], values["score"] = int(values["track_id"]), float(values["score"])
        values["filled"] = bool(values["filled"])
        values["stature_sd_m"] = float(values["stature_sd_m"])
        return Person(**values)


class RecordingWriter:
    """Records results as they come; a context manager.  Closing it makes `.npz` and `.json`.

    What `append` took is never lost: after a crash, a kill or a full disk it is in the spool
    `<path>.spool`, which `load_recording` reads.  A frame with nobody and a take without frames are
    valid.

    Args:
        path: the `.npz` to make (the ending is added when it is missing); folders are made.
        source: what was recorded, for people: a file name, a URL, a camera.
        fps: nominal frame rate of the source; without it, that of the usual step of the times.
        notes: sentences for people.
        camera: the camera to name when no frame comes.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        source: str = "",
        fps: float | None = None,
        notes: Sequence[str] = (),
        camera: Camera | None = None,
    ) -> None:
        if fps is not None and not (math.isfinite(fps) and fps > 0):
            raise BadInput(f"fps must be a positive number or None, got {fps}")
        self.path = npz_path(path)
        description = {
            "version": __version__,
            "source": source,
            "fps": fps,
            "notes": list(notes),
            "camera": None if camera is None else _values(camera),
            "fields": list(PERSON_ROW.names or ()),
        }
        self._closed = False
        self._spool = Spool(spool_path(self.path), description)

    def append(self, result: Result) -> None:
        """Take one frame.

        Raises:
            BadInput: an array of a person has the wrong shape, or the time is not finite.
            CannotWrite: the disk is full; the frames before are safe.
        """
        if self._closed:
            raise BadInput(f"the recording {self.path} is closed; open a new one")
        if not math.isfinite(result.time_s):
            raise BadInput(f"time_s must be a finite number of seconds, got {result.time_s}")
        frame = {
            "index": int(result.index),
            "time_s": float(result.time_s),
            "image_hw": [int(n) for n in result.image_hw],
            "camera": _values(result.camera),
            "timings_ms": {stage: float(ms) for stage, ms in result.timings_ms.items()},
        }
        self._spool.append(frame, _rows(result.people).tobytes())

    def close(self) -> Path:
        """Make the `.npz` and the `.json` of what was appended; closing twice is harmless.

        Raises:
            CannotWrite: the disk is full; the spool stays and can be loaded.
        """
        if self._closed:
            return self.path
        self._closed = True
        try:
            _write(self.path, _assemble(self._spool.read()))
        except CannotWrite as error:
            self._spool.close()
            raise CannotWrite(f"{error}; the frames are safe in {self._spool.path}") from error
        except BaseException:
            self._spool.close()
            raise
        self._spool.remove()
        return self.path

    def discard(self) -> None:
        """Forget what was appended; a recording that was there before stays."""
        if not self._closed:
            self._closed = True
            self._spool.remove()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except CannotWrite as second:
            if error is None:
                raise
            _log.warning("%s", second)  # what went wrong first is what the user must see


def save_recording(
    path: str | Path,
    results: Iterable[Result],
    *,
    source: str = "",
    fps: float | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write results as a recording; the path of its `.npz`.  Arguments as of `RecordingWriter`."""
    with RecordingWriter(path, source=source, fps=fps, notes=notes) as writer:
        for result in results:
            writer.append(result)
    return writer.path


def write_recording(path: str | Path, recording: Recording) -> Path:
    """Write a whole recording; the path of its `.npz`.  What was there stays until it is written.

    Raises:
        CannotWrite: the folder cannot be written, or the disk is full.
    """
    path = npz_path(path)
    _write(path, replace(recording, version=__version__))
    return path


def load_recording(path: str | Path) -> Recording:
    """The recording at `path`: an `.npz`, or the spool that a killed process left.

    Without the ending `.npz` it is added; where there is no `.npz`, the spool beside it is read.

    Raises:
        BadInput: there is no such file, or it is damaged or something else.
    """
    path = Path(path)
    candidates = (path, npz_path(path), spool_path(npz_path(path)))
    there = None
    try:
        there = next((p for p in candidates if p.is_file()), None)
        if there is None:
            raise BadInput(f"there is no recording {path}")
        with there.open("rb") as file:
            return _assemble(records(file)) if is_spool(file) else _read(file)
    except BadInput:
        raise
    except OSError as error:
        raise BadInput(f"cannot read {there or path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise BadInput(f"{there} is damaged, or not a recording of xnect") from error


_DAMAGED = (
    EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading a file ends in that holds anything."""


def spool_path(npz: Path) -> Path:
    """Where the frames of the recording `npz` are until it is closed."""
    return npz.with_name(npz.name + ".spool")


def npz_path(path: str | Path) -> Path:
    """Where a recording lies that is called `path`: the ending is added, and stands for `.json`."""
    path = Path(path)
    if path.suffix == ".json":
        path = path.with_suffix("")
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def _rows(people: Sequence[Person]) -> np.ndarray:
    """(P,) PERSON_ROW of a frame's people."""
    rows = np.zeros(len(people), PERSON_ROW)
    for name in PERSON_ROW.names or ():
        shape = PERSON_ROW[name].shape
        for row, person in zip(rows, people, strict=True):
            value = np.asarray(getattr(person, name))
            if value.shape != shape:
                raise BadInput(f"{name} must have shape {shape}, got {value.shape}")
            row[name] = value
    return rows


def _assemble(spooled: Iterator[tuple[dict[str, Any], bytes]]) -> Recording:
    """The records of a spool as a recording."""
    description, _ = next(spooled)
    fields = description.get("fields", _FIRST)
    kind = np.dtype([(name, PERSON_ROW[name]) for name in fields])
    frames, data = [], []
    for frame, rows in spooled:
        frames.append(frame)
        data.append(_current(np.frombuffer(rows, kind)))
    table = np.concatenate([np.zeros(0, PERSON_ROW), *data])
    numbers: dict[str, int] = {}  # each camera once, in order of appearance
    camera_number = [numbers.setdefault(json.dumps(f["camera"]), len(numbers)) for f in frames]
    if not frames and description["camera"] is not None:
        numbers[json.dumps(description["camera"])] = 0
    cameras = tuple(_camera(json.loads(text)) for text in numbers)
    notes = list(description["notes"])
    if any(not camera.calibrated for camera in cameras) and UNCALIBRATED not in notes:
        notes.append(UNCALIBRATED)
    stages = tuple(dict.fromkeys(stage for f in frames for stage in f["timings_ms"]))
    timings = [[f["timings_ms"].get(stage, math.nan) for stage in stages] for f in frames]
    time_s = np.array([f["time_s"] for f in frames], np.float64)
    return Recording(
        frame_index=np.array([f["index"] for f in frames], np.int64),
        time_s=time_s,
        image_hw=np.array([f["image_hw"] for f in frames], np.int64).reshape(-1, 2),
        camera_number=np.array(camera_number, np.int64),
        timings_ms=np.array(timings, np.float64).reshape(len(frames), len(stages)),
        person_frame=np.repeat(np.arange(len(frames)), [len(rows) for rows in data]),
        **{name: np.ascontiguousarray(table[name]) for name in PERSON_ROW.names or ()},
        stages=stages,
        cameras=cameras,
        fps=_nominal_fps(time_s) if description["fps"] is None else float(description["fps"]),
        source=description["source"],
        notes=tuple(notes),
        skeleton=BODY,
        version=description["version"],
    )


def _current(rows: np.ndarray) -> np.ndarray:
    """(P,) rows of a spool as PERSON_ROW; of fields that it did not know yet, what is not known."""
    if rows.dtype == PERSON_ROW:
        return rows
    out = np.zeros(len(rows), PERSON_ROW)
    out["stature_sd_m"] = np.nan
    for name in rows.dtype.names or ():
        out[name] = rows[name]
    return out


def _nominal_fps(time_s: np.ndarray) -> float:
    """One over the usual step of the times; 30 where there is none."""
    step_s = usual_step_s(time_s)
    return 30.0 if math.isnan(step_s) else 1 / step_s


def _values(camera: Camera) -> dict[str, Any]:
    """The fields of a camera as JSON takes them, whatever numpy types they had."""
    numbers = (camera.fx_px, camera.fy_px, camera.cx_px, camera.cy_px, *camera.dist)
    if not np.isfinite(numbers).all():
        raise BadInput(f"a camera's numbers must be finite, got {camera}")
    fx_px, fy_px, cx_px, cy_px, *dist = map(float, numbers)
    size = int(camera.width_px), int(camera.height_px)
    intrinsics = (fx_px, fy_px, cx_px, cy_px, *size, tuple(dist), bool(camera.calibrated))
    return asdict(Camera(*intrinsics, camera.floor))


def _camera(values: dict[str, Any]) -> Camera:
    floor = values.get("floor")  # absent in older recordings
    if floor is not None:
        floor = Floor(tuple(floor["normal"]), floor["distance_m"])
    return Camera(**{**values, "dist": tuple(values["dist"]), "floor": floor})


def _write(path: Path, recording: Recording) -> None:
    """The `.npz` and the `.json`; both are there whole or not at all."""
    text = json.dumps(describe(recording, path.name), indent=1, allow_nan=False)
    with replacing(path) as file:
        np.savez(file, description_json=np.array(text), **_arrays(recording))
    with replacing(path.with_suffix(".json")) as file:
        file.write(text.encode("ascii"))


def _arrays(recording: Recording) -> dict[str, Any]:
    """Everything that lies in the `.npz` besides the description, by name."""
    rig = recording.skeleton
    return {name: getattr(recording, name) for name in ARRAYS} | {
        "joint_angles_deg": recording.joint_angles_deg.astype(np.float32),
        "joint_angles_names": np.array(list(ANGLES)),
        "euler_deg": recording.euler_deg.astype(np.float32),
        "joints2d_names": np.array(JOINTS2D),
        "joints3d_names": np.array(rig.names),
        "parents": np.array(rig.parents, np.int64),
        "rest_offsets_m": rig.offsets_m,
        "stages": np.array(recording.stages, np.str_),
    }


def _read(file: BinaryIO) -> Recording:
    """An `.npz` of `_write`."""
    with np.load(file, allow_pickle=False) as arrays:
        said = json.loads(str(arrays["description_json"]))
        if said["format"] != FORMAT or said["format_version"] != FORMAT_VERSION:
            raise BadInput(
                f"{file.name} is {said['format']!r} version {said['format_version']}; "
                f"this xnect reads {FORMAT!r} version {FORMAT_VERSION}"
            )
        names = tuple(str(name) for name in arrays["joints3d_names"])
        parents = tuple(int(parent) for parent in arrays["parents"])
        read = Recording(
            **_known(arrays),
            stages=tuple(str(stage) for stage in arrays["stages"]),
            cameras=tuple(_camera(values) for values in said["cameras"]),
            fps=said["frame_rate"]["nominal_fps"],
            source=said["source"],
            notes=tuple(said["notes"]),
            skeleton=Skeleton(names, parents, arrays["rest_offsets_m"]),
            version=said["versions"]["xnect"],
        )
    _check_whole(read)
    return read


def _check_whole(read: Recording) -> None:
    """Raise `ValueError` if the arrays do not fit each other."""
    frames, people = len(read.time_s), len(read.track_id)
    per_frame = (read.frame_index, read.image_hw, read.camera_number, read.timings_ms)
    per_row = [read.person_frame, *(getattr(read, name) for name in PERSON_ROW.names or ())]
    for name in PERSON_ROW.names or ():
        if getattr(read, name).shape[1:] != PERSON_ROW[name].shape:
            raise ValueError(f"{name} of another shape")
    if not 0 < read.fps < np.inf:
        raise ValueError(f"a frame rate of {read.fps}")
    if (np.diff(read.person_frame) < 0).any():
        raise ValueError("people out of order")
    for arrays_of, count in ((per_frame, frames), (per_row, people)):
        if any(len(array) != count for array in arrays_of):
            raise ValueError("arrays of different lengths")
    for numbers, count in ((read.person_frame, frames), (read.camera_number, len(read.cameras))):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
            raise ValueError("numbers of frames or cameras that are not there")


def _known(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of `ARRAYS`, by name; what older recordings lack is False, or nan."""
    known = {name: arrays[name] for name in ARRAYS if name in arrays or name not in _LATER}
    count = len(known["track_id"])
    return {"filled": np.zeros(count, bool), "stature_sd_m": np.full(count, np.nan)} | known
