"""Random scenes: a camera, people on the floor y = 0, light, and a photo or a room around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from xnect.synth.assets import Assets
from xnect.synth.body import Person, world_points
from xnect.synth.camera import View, random_view
from xnect.synth.labels import R
from xnect.synth.light import Light, random_light
from xnect.synth.mesh import Mesh, yaw_matrix
from xnect.synth.motion import random_pose, stand_on_floor
from xnect.synth.room import Room, open_ground, random_furniture, random_room
from xnect.synth.things import carried


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What one picture shows: a closed room, a photo, or an open ground before a photo."""

    people: tuple[Person, ...]
    matrices: np.ndarray  # (P, 31, 3, 4) of the bones, rest -> world
    view: View
    light: Light
    room: Room | None
    photo: np.ndarray | None  # (H, W, 3) uint8
    furniture: Mesh | None
    carried: tuple[tuple[int, Mesh], ...] = ()  # who carries what: moves with the person's bones

    @property
    def points_m(self) -> np.ndarray:
        """(P, 29, 3) labelled points in the world."""
        points = [world_points(p, m) for p, m in zip(self.people, self.matrices, strict=True)]
        return np.array(points).reshape(-1, 29, 3)

    def moved(self, matrices: np.ndarray) -> Scene:
        """The same scene with everybody in another pose."""
        return replace(self, matrices=matrices)


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """How random scenes are drawn."""

    width_px: int = 512
    height_px: int = 320
    people_shares: tuple[float, ...] = (
        0.02,
        0.2,
        0.24,
        0.2,
        0.14,
        0.1,
        0.1,
    )  # of 0, 1, 2 ... people
    room_share: float = 0.45
    close_share: float = 0.2  # of pictures in which people are so near that the border cuts them
    crowd_share: float = 0.3  # of pictures in which people may stand close together
    photo_occluder_share: float = 0.25  # of photos with boxes in front of the people
    photo_uses: tuple[str, ...] = ("floor", "floor", "view", "view", "wall")
    photo_floor_share: float = 0.5  # of photos with a floor: people stand on that, unseen depth
    carried_share: float = 0.2  # of people who carry something
    behind_share: float = 0.25  # of people who stand behind or before another one


def place_people(
    rng: np.random.Generator, view: View, count: int, *, distance_m: float, gap_m: float,
    margin: float, behind_share: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Floor positions (count, 3) in view, at least `gap_m` apart where that is possible.

    `margin` is the share of the width kept free at either side; negative: people may be cut.
    `behind_share` of the people are in the same column of the picture as another one.
    """
    camera, places = view.camera, np.zeros((count, 3))
    scale = camera.fx_px / (0.82 * camera.width_px)
    side = margin if count > 1 else max(margin, 0.0) + 0.15
    for i in range(count):
        beside = rng.random() < behind_share
        for _ in range(30):
            depth = np.clip(distance_m * np.exp(rng.normal(0, 0.3)), 1.2 * scale, 9 * scale)
            column = rng.uniform(side, 1 - side) * camera.width_px
            if beside and i:
                other = places[rng.integers(i)]
                column = camera.cx_px - other[0] / other[2] * camera.fx_px
                column += rng.normal(0, 0.35) / depth * camera.fx_px
            places[i] = (column - camera.cx_px) / camera.fx_px * depth, 0, -depth
            if np.all(np.hypot(*(places[:i] - places[i])[:, [0, 2]].T) > gap_m):
                break
    return places


def crop_photo(
    rng: np.random.Generator, photo: np.ndarray, width_px: int, height_px: int
) -> np.ndarray:
    """(height, width, 3): a random crop, flipped and blurred at times."""
    height, width = photo.shape[:2]
    scale = max(width_px / width, height_px / height) * rng.uniform(1, 1.4)
    size = int(np.ceil(width * scale)), int(np.ceil(height * scale))
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(photo, size, interpolation=shrink)
    top, left = rng.integers(size[1] - height_px + 1), rng.integers(size[0] - width_px + 1)
    image = image[top : top + height_px, left : left + width_px]
    image = np.ascontiguousarray(image[:, ::-1] if rng.random() < 0.5 else image)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.5))
    return image


def random_scene(
    assets: Assets,
    rng: np.random.Generator,
    pool: Sequence[Person],
    *,
    photo_of: Callable[[Mapping[str, Any]], np.ndarray] | None = None,
    options: SceneOptions = SceneOptions(),
) -> Scene:
    """A still picture of people of the pool in random poses.

    `photo_of` reads a photo by its entry, for example from memory; the disk by default.
    """
    shares = np.array(options.people_shares) / sum(options.people_shares)
    count = min(int(rng.choice(len(shares), p=shares)), len(pool))
    people = tuple(pool[i] for i in rng.choice(len(pool), count, replace=False))
    close = rng.random() < options.close_share
    distance = (
        rng.uniform(1.5, 2.8) if close else rng.uniform(2.2, 6.0) * (0.8 if count == 1 else 1)
    )
    view, distance = random_view(rng, options.width_px, options.height_px, distance_m=distance)
    gap = 0.4 if rng.random() < options.crowd_share else 0.55
    margin = -0.1 if close else 0.04
    places = place_people(
        rng, view, count, distance_m=distance, gap_m=gap, margin=margin,
        behind_share=options.behind_share,
    )  # fmt: skip
    matrices = np.zeros((count, 31, 3, 4))
    for i, (person, place) in enumerate(zip(people, places, strict=True)):
        lift = 0.0 if rng.random() < 0.95 else rng.uniform(0, 0.4)
        pose = yaw_matrix(rng.uniform(0, 2 * np.pi)) @ random_pose(assets, rng)
        matrices[i] = stand_on_floor(assets.body, person, pose, place_m=place, lift_m=lift)
    around = places if count else np.array([[0, 0, -distance]])
    room, photo, furniture = _surroundings(
        assets, rng, around, view, photo_of or assets.photo, options
    )
    things = tuple(
        (i, carried(assets, rng, person))
        for i, person in enumerate(people)
        if rng.random() < options.carried_share
    )
    light = random_light(rng, photo)
    return Scene(people, matrices, view, light, room, photo, furniture, things)


def _surroundings(
    assets: Assets,
    rng: np.random.Generator,
    places_m: np.ndarray,
    view: View,
    photo_of: Callable[[Mapping[str, Any]], np.ndarray],
    options: SceneOptions,
) -> tuple[Room | None, np.ndarray | None, Mesh | None]:
    if rng.random() < options.room_share:
        room = random_room(assets, rng, places_m, camera_m=view.position_m)
        furniture = random_furniture(assets, rng, places_m, low_m=room.low_m, high_m=room.high_m)
        return room, None, furniture
    use = rng.choice(options.photo_uses)
    entries = [entry for entry in assets.photos if entry["use"] == use]
    entry = entries[int(rng.integers(len(entries)))]
    photo = crop_photo(rng, photo_of(entry), options.width_px, options.height_px)
    furniture = None
    if rng.random() < options.photo_occluder_share:
        furniture = random_furniture(
            assets, rng, places_m, low_m=np.zeros(3), high_m=np.zeros(3), most=3, in_front=1.0
        )
    bare = use == "floor" and rng.random() < options.photo_floor_share
    ground = None if bare else open_ground(assets, rng, places_m)
    return ground, photo, furniture


def shadowed_points(scene: Scene, points_m: np.ndarray) -> np.ndarray:
    """Points (P, 29, 3) -> (n, 3) of the people before the camera; the origin when there are none.

    The shadow map lies around them: somebody who waits far behind the camera takes none of it.
    """
    ahead = scene.view.to_camera(points_m)[:, 0, 2] > 0 if points_m.size else np.zeros(0, bool)
    return points_m[ahead].reshape(-1, 3) if ahead.any() else np.zeros((1, 3))


def contact_shadows(points_m: np.ndarray, *, radius_m: float = 0.13) -> np.ndarray:
    """Points (P, 29, 3) -> (k, 4) float32 x, z, radius, strength of the dark spots below people."""
    out = []
    for person in points_m:
        for name, size in (("left_heel", 1), ("left_big_toe", 1), ("right_heel", 1),
                           ("right_big_toe", 1), ("pelvis", 2.2)):  # fmt: skip
            x, y, z = person[R[name]]
            strength = 0.45 * np.clip(1 - max(y - 0.03, 0) / (0.12 * size), 0, 1)
            if strength > 0.02:
                out.append((x, z, radius_m * size, strength))
    return np.array(out, np.float32).reshape(-1, 4)
