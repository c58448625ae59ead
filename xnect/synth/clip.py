"""A clip of adults in a room: two walk past each other, others stand and gesture.

Made for the demo: only CC0 bodies, clothes and room tiles and CMU motion appear in it, no photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from xnect.atomic import replacing
from xnect.errors import BadInput
from xnect.skeleton import JOINTS2D, JOINTS3D
from xnect.synth.assets import Assets, Motion
from xnect.synth.body import Person, random_person
from xnect.synth.camera import View, pinhole, stand
from xnect.synth.crowd import CrowdOptions, crowd_scenes
from xnect.synth.feet import contact
from xnect.synth.labels import Labels
from xnect.synth.light import random_light, towards
from xnect.synth.mesh import yaw_matrix
from xnect.synth.motion import animate, root_path, rotations
from xnect.synth.render import Picture, Renderer
from xnect.synth.room import Room, random_furniture, random_tiles
from xnect.synth.scene import Scene

RATE_HZ = 30
WALKS = ("walk",)
GESTURES = ("signal", "punch", "scoop", "wash", "directing traffic")
HIGHEST_LIFT_M = 0.13  # no jumps and no climbing frames: there is nothing to climb on
DEPTH_M = (4.0, 6.5)  # where the mid-hips stay: everybody is in the picture from head to foot
APART_M = 0.7  # mid-hips of two people


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """What the clip shows."""

    seconds: float = 5.0
    width_px: int = 640
    height_px: int = 400
    people: int = 3  # two of them walk
    proposals: int = 60  # paths that are tried per person


@dataclass(frozen=True, slots=True, eq=False)
class Path2D:
    """A possible course of one person: motion, start, and the way of the mid-hip."""

    frames: np.ndarray  # (F,) of the motion
    turn: np.ndarray  # (3, 3) about the vertical axis
    place_m: np.ndarray  # (3,) start on the floor
    mirror: bool
    way_m: np.ndarray  # (F, 3) mid-hip in the world
    column_px: np.ndarray  # (F,) mid-hip in the picture


def clips_of(motion: Motion, actions: Sequence[str], *, frames: int) -> np.ndarray:
    """Numbers of the CMU clips that are long enough, stay on the floor, and show an action."""
    spans = zip(motion.start, motion.length, strict=True)
    lift = np.array([motion.lift_m[start : start + length].max() for start, length in spans])
    named = np.array([any(word in str(action) for word in actions) for action in motion.action])
    cmu = motion.source != "deepmimic"
    return np.flatnonzero((motion.length >= frames) & (lift < HIGHEST_LIFT_M) & named & cmu)


def chest_up(motion: Motion, frames: np.ndarray) -> np.ndarray:
    """(F,) cosine of the lean of the chest."""
    return rotations(motion, frames)[:, motion.bone_names.index("Spine1"), 1, 1]


def propose(
    motion: Motion,
    rng: np.random.Generator,
    person: Person,
    view: View,
    *,
    clips: np.ndarray,
    frames: int,
    count: int,
    upright: bool,
) -> list[Path2D]:
    """Up to `count` random courses on which the person stays in the picture.

    `upright` leaves out moments in which the chest leans by more than 25 degrees.
    """
    camera, out = view.camera, []
    margin = 0.095 * camera.width_px
    for _ in range(100 * count):
        clip = int(rng.choice(clips))
        first = int(rng.integers(motion.length[clip] - frames + 1))
        numbers = motion.start[clip] + first + np.arange(frames)
        mirror, turn = bool(rng.random() < 0.5), yaw_matrix(rng.uniform(0, 2 * np.pi))
        depth, column = rng.uniform(4.1, 6.0), rng.uniform(0.08, 0.92) * camera.width_px
        place = np.array([(column - camera.cx_px) / camera.fx_px * depth, 0, -depth])
        way = root_path(motion, person, numbers, mirror=mirror) @ turn.T + place
        seen = view.to_camera(way)
        x, z = camera.project(seen)[:, 0], seen[:, 2]
        inside = x.min() > margin and x.max() < camera.width_px - margin
        inside &= not upright or chest_up(motion, numbers).min() > np.cos(np.deg2rad(25))
        if inside and z.min() > DEPTH_M[0] and z.max() < DEPTH_M[1]:
            out.append(Path2D(numbers, turn, place, mirror, way, x))
        if len(out) >= count:
            break
    return out


def _apart(a: Path2D, b: Path2D) -> bool:
    return bool(np.hypot(*(a.way_m - b.way_m)[:, [0, 2]].T).min() > APART_M)


def _overlap(a: Path2D, b: Path2D, width_px: int) -> float:
    """Share of the time in which one hides the other."""
    return float((np.abs(a.column_px - b.column_px) < 0.094 * width_px).mean())


def choose(proposals: Sequence[Sequence[Path2D]], *, width_px: int) -> list[Path2D]:
    """One course each: the first two cross and go far, and nobody hides another for long.

    Raises:
        BadInput: no choice keeps everybody apart.
    """

    def crossing(a: Path2D, b: Path2D) -> float:
        order = np.sign(a.column_px - b.column_px)
        way = np.ptp(a.column_px) + np.ptp(b.column_px)
        hidden = max(_overlap(a, b, width_px) - 0.2, 0)
        return float(way / width_px + (order[0] != order[-1]) - 2 * hidden)

    pairs = [(a, b) for a in proposals[0] for b in proposals[1] if _apart(a, b)]
    if not pairs:
        raise BadInput("no two walks fit into the picture; try another --seed")
    chosen = list(max(pairs, key=lambda pair: crossing(*pair)))
    for others in proposals[2:]:
        free = [c for c in others if all(_apart(c, q) for q in chosen)]
        if not free:
            raise BadInput("somebody finds no free place; try another --seed or fewer --people")
        chosen.append(min(free, key=lambda c: sum(_overlap(c, q, width_px) for q in chosen)))
    return chosen


def clip_scenes(
    assets: Assets,
    seed: int,
    options: ClipOptions = ClipOptions(),
) -> Iterator[Scene]:
    """The scene of every frame.

    Raises:
        BadInput: fewer than two people, or a clip longer than the walks there are.
    """
    if options.people < 2:
        raise BadInput(f"a clip needs 2 people or more who cross, got --people {options.people}")
    rng, frames = np.random.default_rng(seed), round(options.seconds * RATE_HZ)
    walks, gestures = (clips_of(assets.motion, a, frames=frames) for a in (WALKS, GESTURES))
    if frames < 1 or not len(walks) or not len(gestures):
        raise BadInput(f"no motion is {options.seconds:g} s long; choose --seconds from 0.1 to 5")
    camera = pinhole(options.width_px, options.height_px, view_rad=np.deg2rad(54))
    view = stand(camera, height_m=1.5, pitch_rad=np.deg2rad(-6))
    people = _cast(assets, rng, options.people)
    proposals = [
        propose(assets.motion, rng, person, view, clips=walks if i < 2 else gestures,
                frames=frames, count=options.proposals, upright=i < 2)
        for i, person in enumerate(people)
    ]  # fmt: skip
    courses = choose(proposals, width_px=options.width_px)
    tracks = np.stack([
        animate(assets, person, c.frames, turn=c.turn, place_m=c.place_m, mirror=c.mirror)
        for person, c in zip(people, courses, strict=True)
    ])  # (P, F, 31, 3, 4)  # fmt: skip
    scene = _stage(assets, rng, people, view, places_m=np.concatenate([c.way_m for c in courses]))
    for frame in range(frames):
        yield scene.moved(tracks[:, frame])


def _cast(assets: Assets, rng: np.random.Generator, count: int) -> tuple[Person, ...]:
    """Adults in complete outfits: they look better than the cut ones."""
    people: list[Person] = []
    while len(people) < count:
        person = random_person(assets, rng)
        if 0.45 < person.meta["age"] < 0.8 and person.outfit != "cut":
            people.append(person)
    return tuple(people)


def _stage(
    assets: Assets,
    rng: np.random.Generator,
    people: tuple[Person, ...],
    view: View,
    *,
    places_m: np.ndarray,
) -> Scene:
    """An even, warm light in a plain room with boxes behind the people."""
    room = Room(
        low_m=np.array([-4.2, 0, -7.6]),
        high_m=np.array([4.2, 2.8, 1.0]),
        tiles=random_tiles(assets, rng, ("WoodFloor", "Terrazzo"),
                           ("Plaster", "Paper", "Travertine"), ("OfficeCeiling", "Plaster")),
        tiles_per_m=np.array([0.5, 0.35, 0.5]),
    )  # fmt: skip
    furniture = random_furniture(
        assets, rng, places_m, low_m=room.low_m, high_m=room.high_m, in_front=0.0
    )
    white = np.array([1.04, 1, 0.95])
    light = replace(
        random_light(rng),
        exposure=1.25,
        key_direction=towards(rng.uniform(-0.9, 0.9), np.deg2rad(55)),
        key=0.75 * white,
        sky=0.62 * white,
        ground=0.5 * white,
        fill=0.15 * white[::-1],
    )
    matrices = np.zeros((len(people), 31, 3, 4))
    return Scene(people, matrices, view, light, room, None, furniture)


def render_clip(
    assets: Assets,
    seed: int,
    options: ClipOptions | CrowdOptions = ClipOptions(),
) -> Iterator[tuple[Picture, Scene]]:
    """Every frame, drawn with four samples per pixel and without noise."""
    draw = Renderer(assets, supersampling=2, shadow_px=1024)
    if isinstance(options, CrowdOptions):
        scenes = crowd_scenes(assets, seed, options)
    else:
        scenes = clip_scenes(assets, seed, options)
    for scene in scenes:
        yield draw(scene), scene


def write_clip(path: Path, frames: Iterator[tuple[Picture, Scene]]) -> Path:
    """Write the H.264 video and, beside it, `<stem>_truth.npz`; returns the path of the latter.

    An earlier video of that name is replaced when all is done.
    """
    labels: list[Labels] = []
    scenes: list[Scene] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    try:
        _encode(part, frames, labels, scenes)
        truth = _write_truth(path.with_name(path.stem + "_truth.npz"), labels, scenes)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return truth


def _encode(
    path: Path,
    frames: Iterator[tuple[Picture, Scene]],
    labels: list[Labels],
    scenes: list[Scene],
) -> None:
    """Write the video; labels and scenes of its frames are appended to the lists."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE_HZ)
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "21", "preset": "slow"}
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for picture, scene in frames:
            if not labels:
                stream.height, stream.width = picture.owner.shape
            labels.append(picture.labels)
            scenes.append(scene)
            video = av.VideoFrame.from_ndarray(picture.image, format="rgb24")
            container.mux(stream.encode(video))
        container.mux(stream.encode())


def _write_truth(path: Path, labels: Sequence[Labels], scenes: Sequence[Scene]) -> Path:
    """Labels of all F frames and P people, the camera, the floor, the statures.

    `joints3d_m` (F, P, 21, 3) camera space of that frame, `joints2d_px` (F, P, 18, 2),
    `visibility` (F, P, 18): 2 seen, 1 hidden, 0 outside; `hidden_by` (F, P, 18): what hides it, as
    in `xnect.synth.labels`; `depth_order` (F, P): 0 = nearest; `contact` (F, P, 2) bool: left and
    right foot stand on the floor; `floor` (F, 4): its unit normal in camera axes, up, and the
    height of the camera in metres; `camera_from_world` (F, 3, 4); `stature_m` (P,); the rest are
    single values and the names.
    """
    camera, people = scenes[0].view.camera, scenes[0].people
    floors = [s.view.floor for s in scenes]
    poses = [(s.view.camera_from_world, s.view.position_m) for s in scenes]
    stands = contact(np.stack([s.points_m for s in scenes]), people, rate_hz=RATE_HZ)
    with replacing(path) as file:
        np.savez_compressed(
            file,
            joints3d_m=np.stack([x.joints3d_m for x in labels]).astype(np.float32),
            joints2d_px=np.stack([x.joints2d_px for x in labels]).astype(np.float32),
            visibility=np.stack([x.visibility for x in labels]),
            hidden_by=np.stack([x.hidden_by for x in labels]),
            depth_order=np.stack([x.depth_order for x in labels]).astype(np.uint8),
            contact=stands,
            floor=np.array([[*f.normal, f.distance_m] for f in floors], np.float32),
            camera_from_world=np.array(
                [np.column_stack([turn, -turn @ place]) for turn, place in poses], np.float32
            ),
            joints3d_names=np.array(JOINTS3D),
            joints2d_names=np.array(JOINTS2D),
            focal_px=camera.fx_px,
            cx_px=camera.cx_px,
            cy_px=camera.cy_px,
            width_px=camera.width_px,
            height_px=camera.height_px,
            fps=float(RATE_HZ),
            stature_m=np.array([p.stature_m for p in people], np.float32),
        )
    return path
