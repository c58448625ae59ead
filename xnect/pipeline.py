"""The whole system on one picture or one video.

The life of a frame:

| step | function | in -> out |
|---|---|---|
| 1 | `prepare` | (H, W, 3) RGB -> tensor (3, h, w), letterboxed |
| 2 | `network` | tensor -> heatmaps, affinities, codes, offsets at stride 8; one copy to the host |
| 3 | `associate` | maps -> `PartialPose` of each person, in pixels of the picture |
| 4 | `refine` | a second look at each person -> `PartialPose` with surer joints; in a video also
  where people were in the frame before (`follow`) |
| 5 | `sides` | in a video: left and right that continue those of the frames before |
| 6 | `lift` | -> `Pose3D`: complete, root-relative, reference size |
| 7 | `track` | -> `Track`: who is who; the only state |
| 8 | `fit` | -> `Person`: joint angles and joints in metric camera space |
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real

import numpy as np
import torch
from torch import nn

from xnect.associate import AssociateOptions, find_people
from xnect.backbones.fold import folded
from xnect.boxes import BoxOptions, find_boxes, without_copies
from xnect.calib.camera import Camera
from xnect.errors import BadInput
from xnect.fit import FitOptions, fit, fit_single
from xnect.follow import Candidates, Follow, others
from xnect.image import as_rgb8
from xnect.lift import lift
from xnect.mirror import flip_tested
from xnect.network import Network, channels_last
from xnect.prepare import Normalisation, image_from_cell, network_hw, normalise, resize
from xnect.presence import PresenceOptions, supported
from xnect.proportions import Builds, ProportionOptions
from xnect.refine import RefineOptions, refine
from xnect.sides import Sides
from xnect.sure_joints import sure_joints
from xnect.times import LEAST_STEP_S, Times
from xnect.track import Tracker, TrackOptions
from xnect.types import Frame, PartialPose, Person, Pose3D, Result

log = logging.getLogger(__name__)

STAGES = ("prepare", "network", "associate", "refine", "lift", "track", "fit")


class Stopwatch:
    """Milliseconds by stage; blocks of the same stage add up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block."""
        start = time.perf_counter()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + 1e3 * (time.perf_counter() - start)


class Pipeline:
    """Pictures -> the people in them.

    Call it with one picture (no memory of others), or `stream` a video.  Made by
    `xnect.load_pipeline`.

    Args:
        network: Stage I.
        lifter: Stage II.
        input_hw: Nominal size of the network's input; other aspect ratios keep the area.
        camera: Intrinsics; None guesses them from each picture's size, marked uncalibrated.
        device: Where the networks run.
        associate: Thresholds of the association.
        track: Options of the identities, with the filters over time.
        fit: Options of the skeleton fit, with the height prior.
        proportions: What a stream learns of each identity's bones and, over a known floor, stature;
            None keeps the same body for everybody.
        flip_test: Run the network on the mirrored picture as well and take the mean, and look at
            each person several times, see `RefineOptions`: surer joints for several times the
            networks' time.
        refiner: Looks at each person again; None trusts Stage I.
        refine: Its thresholds.
        boxes: Of people whose joints Stage I does not tell.
        presence: When somebody is there.
        normalisation: Of the network's input, as its weights were trained.
    """

    def __init__(
        self,
        network: Network,
        lifter: nn.Module,
        *,
        input_hw: tuple[int, int],
        camera: Camera | None = None,
        device: str = "cpu",
        associate: AssociateOptions = AssociateOptions(),
        track: TrackOptions = TrackOptions(),
        fit: FitOptions = FitOptions(),
        proportions: ProportionOptions | None = ProportionOptions(),
        flip_test: bool | None = None,
        refiner: nn.Module | None = None,
        refine: RefineOptions = RefineOptions(),
        boxes: BoxOptions = BoxOptions(),
        presence: PresenceOptions = PresenceOptions(),
        normalisation: Normalisation = Normalisation(),
    ) -> None:
        self.device = torch.device(device)
        half = self.device.type == "cuda" or fast_bf16(self.device)
        kind = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        self.kind = kind if half else torch.float32  # of the networks' weights and pictures
        self.network = channels_last(folded(network).to(self.device, self.kind))
        self.lifter = lifter.eval()  # tiny: stays on the host
        self.input_hw, self.camera = input_hw, camera
        self._scaled_to: set[tuple[int, int]] = set()  # sizes of pictures, of which it was said
        self.normalisation = normalisation
        self.associate_options, self.track_options, self.fit_options = associate, track, fit
        self.proportion_options, self.flip_test = proportions, flip_test
        self.refiner = None
        if refiner is not None:
            self.refiner = channels_last(folded(refiner).to(self.device, self.kind))
        self.box_options, self.presence_options = boxes, presence
        self.refine_options = refine

    def __call__(self, image: np.ndarray) -> Result:
        """One picture, (H, W, 3) uint8 RGB or any kind `as_rgb8` takes; identities are 0.

        Whoever is hardly there (`PresenceOptions.single_at_least`) is left out; `find` has them.
        Over a known floor people are taken to stand on it, which tells how tall they are.

        Raises:
            BadInput: an array that is no picture.
        """
        watch = Stopwatch()
        picture = as_rgb8(image)
        camera = self.camera_for(picture)
        poses = self._poses(picture, camera, watch)
        if self.refiner is not None:  # in a stream the tracker decides who is given out
            least = self.presence_options.single_at_least
            poses = [pose for pose in poses if pose.partial.person_score >= least]
        with watch("fit"):
            builds = self._builds()
            if builds is None:
                people = fit_single(poses, camera, self.fit_options, floor=camera.floor)
            else:
                tracks = builds.alone(poses, camera)
                people = fit(tracks, camera, 0.0, self.fit_options, floor=camera.floor)
        return replace(self._result(Frame(0, 0.0, picture), camera, people, watch), image=picture)

    def stream(
        self, frames: Iterable[Frame | np.ndarray], *, fps: float = 30.0
    ) -> Iterator[Result]:
        """Results in the order of the frames; identities, filters and fits last for this stream.

        The times of the results increase, also where those of the frames repeat or run backwards
        (`times`).  Pictures may change their size: identities go on, those of another shape by
        looks.

        Args:
            frames: `Frame`s with their times, or bare pictures.
            fps: Frame rate of bare pictures, at most 1000.

        Raises:
            BadInput: a frame that is no picture, one picture in place of several, or a rate that is
                no positive number, or too high.
        """
        if not (isinstance(fps, Real) and math.isfinite(fps) and fps > 0):
            raise BadInput(f"fps must be a positive number, got {fps!r}")
        if fps * LEAST_STEP_S > 1:
            raise BadInput(f"fps must be at most {1 / LEAST_STEP_S:g}, got {fps}")
        if isinstance(frames, np.ndarray) and frames.ndim in (2, 3):
            raise BadInput(
                f"a stream is made of pictures, got one array of shape {frames.shape}; "
                "for one picture call the pipeline with it, or give [picture]"
            )
        tracker, times = Tracker(self.track_options), Times()
        sides, follow = Sides(), Follow()
        builds, hw = self._builds(), None
        for number, item in enumerate(frames):
            frame = item if isinstance(item, Frame) else Frame(number, number / fps, item)
            frame = replace(frame, time_s=times(frame.time_s))
            watch = Stopwatch()
            picture = as_rgb8(frame.image)
            camera = self.camera_for(picture)
            before_hw, hw = hw, (picture.shape[0], picture.shape[1])
            if before_hw not in (None, hw):  # network cameras change it; the tracker sees it
                sides.resize(before_hw, hw)
                follow.resize(before_hw, hw)
            poses = self._poses(picture, camera, watch, sides, follow, frame.time_s)
            with watch("track"):
                tracks = tracker.match(poses, picture, frame.time_s)
            with watch("fit"):
                people = fit(tracks, camera, frame.time_s, self.fit_options, floor=camera.floor)
                tracker.remember(people)
                if builds is not None:
                    builds.update(tracker, tracks, people, camera, frame.time_s)
            yield self._result(replace(frame, image=picture), camera, people, watch)

    def camera_for(self, image: np.ndarray) -> Camera:
        """The camera for a picture: the given one, scaled to its size (said once), or a guess.

        Raises:
            BadInput: a picture of another aspect ratio than the given camera's.
        """
        height, width = image.shape[:2]
        if self.camera is None:
            return Camera.guess(height, width)
        given = self.camera
        if (given.height_px, given.width_px) == (height, width):
            return given
        if abs(width * given.height_px / (height * given.width_px) - 1) > 0.02:
            raise BadInput(
                f"the camera is for {given.width_px}x{given.height_px} pictures, got "
                f"{width}x{height}; give intrinsics for this aspect ratio"
            )
        if (height, width) not in self._scaled_to:
            self._scaled_to.add((height, width))
            log.warning(
                "the camera is for %dx%d pictures; its intrinsics are scaled to %dx%d",
                given.width_px, given.height_px, width, height,
            )  # fmt: skip
        return given.resized(height, width)

    def find(self, image: np.ndarray) -> list[PartialPose]:
        """Who is where in the picture, in 2D: everything before Stage II."""
        picture = as_rgb8(image)
        return self._partials(picture, self.camera_for(picture), Stopwatch())

    def _builds(self) -> Builds | None:
        """A memory of people's builds for one stream."""
        if self.proportion_options is None:
            return None
        return Builds(self.proportion_options, self.fit_options.height_m)

    def _partials(
        self,
        picture: np.ndarray,
        camera: Camera,
        watch: Stopwatch,
        follow: Follow | None = None,
        time_s: float = 0.0,
    ) -> list[PartialPose]:
        flip = follow is None if self.flip_test is None else self.flip_test
        with watch("prepare"):
            hw = picture.shape[:2]
            size = network_hw(hw, self.input_hw)
            tensor = torch.from_numpy(normalise(resize(picture, size), self.normalisation))[None]
        with watch("network"):
            heatmaps, affinities, codes, offsets, boxes = self._maps(tensor, flip_test=flip)
        affine = image_from_cell(hw, size)
        with watch("associate"):
            people = find_people(
                heatmaps, affinities, codes, affine, self.associate_options, offsets=offsets
            )
        if self.refiner is None:
            return people
        with watch("refine"):
            found, sure = find_boxes(boxes, affine, self.box_options)
            if follow is None or follow.search(time_s, self.box_options.wide_every_s):
                found, sure = self._with_small(found, sure, picture)
            if follow is not None:
                where = follow.candidates(people, time_s, found)
            else:
                where = Candidates(people, people, len(people), others(found, people))
            options = replace(self.refine_options, flip_test=flip or self.refine_options.flip_test)
            refined = refine(where, picture, self.refiner, camera, options)
            refined = supported(refined, people, found, sure, self.presence_options)
            return refined if follow is None else follow.keep(refined, people, time_s, found)

    def _with_small(
        self, boxes: np.ndarray, score: np.ndarray, picture: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(M, 4) boxes and (M,) scores, also of people who are too small at the nominal size."""
        wide = self.box_options.wide
        if not wide:
            return boxes, score
        hw = picture.shape[:2]
        size = network_hw(hw, (round(wide * self.input_hw[0]), round(wide * self.input_hw[1])))
        tensor = torch.from_numpy(normalise(resize(picture, size), self.normalisation))[None]
        more, sure = find_boxes(self._box_maps(tensor), image_from_cell(hw, size), self.box_options)
        both = np.concatenate([boxes, more]), np.concatenate([score, sure])
        return without_copies(*both, self.box_options)

    @torch.inference_mode()
    def _box_maps(self, tensor: torch.Tensor) -> np.ndarray:
        """(1, 3, h, w) -> (5, h, w) of the box branch alone."""
        tensor = tensor.to(self.device, self.kind).contiguous(memory_format=torch.channels_last)
        maps = self.network.box_maps(tensor)[0].float()
        maps[0].sigmoid_()
        planes: np.ndarray = maps.cpu().numpy()
        return planes

    def _poses(
        self,
        picture: np.ndarray,
        camera: Camera,
        watch: Stopwatch,
        sides: Sides | None = None,
        follow: Follow | None = None,
        time_s: float = 0.0,
    ) -> list[Pose3D]:
        partials = self._partials(picture, camera, watch, follow, time_s)
        if sides is not None:
            with watch("track"):
                partials = sides.update(partials, time_s)
        if self.refiner is not None:
            partials = [replace(p, sure=sure_joints(p)) for p in partials]
        with watch("lift"):
            return lift(partials, self.lifter, camera=camera)

    @torch.inference_mode()
    def _maps(self, tensor: torch.Tensor, *, flip_test: bool) -> list[np.ndarray]:
        """(1, 3, h, w) -> heatmap probabilities, affinities, codes, offsets, boxes on the host."""
        tensor = tensor.to(self.device, self.kind).contiguous(memory_format=torch.channels_last)
        maps = flip_tested(self.network, tensor) if flip_test else self.network(tensor)
        boxes = torch.cat([torch.sigmoid(maps.boxes[:, :1].float()), maps.boxes[:, 1:]], 1)
        seen = (
            torch.sigmoid(maps.heatmaps.float()), maps.affinities, maps.codes, maps.offsets, boxes
        )  # fmt: skip
        planes = [m[0].float().flatten(0, -3) for m in seen]  # each (channels, h, w)
        joined = torch.cat(planes).cpu().numpy()  # one copy
        parts = np.split(joined, np.cumsum([len(p) for p in planes])[:-1])
        return [p.reshape(m.shape[1:]) for p, m in zip(parts, seen, strict=True)]

    def _result(
        self, frame: Frame, camera: Camera, people: tuple[Person, ...], watch: Stopwatch
    ) -> Result:
        height, width = frame.image.shape[:2]
        return Result(frame.index, frame.time_s, (height, width), camera, people, watch.ms)


def fast_bf16(device: torch.device) -> bool:
    """Whether this CPU computes in bf16 natively (AVX512-BF16 or AMX): then it is twice as fast."""
    if device.type != "cpu":
        return False
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())
