"""Box rooms, open grounds, and furniture behind people and in front of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xnect.synth.assets import Assets
from xnect.synth.materials import material
from xnect.synth.mesh import Mesh, join
from xnect.synth.things import furniture

FLOORS = ("WoodFloor", "Tiles", "Concrete", "Marble", "Planks", "Terrazzo", "PavingStones",
          "Asphalt", "Gravel", "Ground", "Grass")  # fmt: skip
WALLS = ("Plaster", "Bricks", "Concrete", "Planks", "Tiles", "WoodSiding", "Paper", "Travertine")
GROUNDS = ("Asphalt", "Concrete", "Grass", "Gravel", "Ground", "PavingStones", "Planks", "Road",
           "Rock", "Snow", "Tiles")  # fmt: skip
CEILINGS = ("OfficeCeiling", "Plaster", "Planks", "Concrete", "Paper")


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """The inside of a box, world axes; the floor is y = 0."""

    low_m: np.ndarray  # (3,)
    high_m: np.ndarray  # (3,)
    tiles: np.ndarray  # (3,) room tiles of floor, walls, ceiling
    tiles_per_m: np.ndarray  # (3,)
    reach_m: float = np.inf  # beyond it, and above the floor, is a photo; infinite: a closed room


def random_tiles(assets: Assets, rng: np.random.Generator, *kinds: Sequence[str]) -> np.ndarray:
    """(len(kinds),) one tile of each group of kinds."""
    return np.array([rng.choice(assets.tiles_of(group)) for group in kinds])


def random_room(
    assets: Assets, rng: np.random.Generator, places_m: np.ndarray, *, camera_m: np.ndarray
) -> Room:
    """A room around the places (n, 3) and the camera (3,)."""
    side = rng.uniform(1.5, 4, 3)
    x, z = places_m[:, 0], places_m[:, 2]
    low = np.array([min(-1, x.min() - side[0]), 0, z.min() - side[1]])
    ceiling = max(rng.uniform(2.4, 4), camera_m[1] + 0.4)
    high = np.array([max(1, x.max() + side[2]), ceiling, 1.0])
    tiles = random_tiles(assets, rng, FLOORS, WALLS, CEILINGS)
    return Room(low, high, tiles, rng.uniform(0.3, 1.0, 3))


def open_ground(assets: Assets, rng: np.random.Generator, places_m: np.ndarray) -> Room:
    """A floor under the places (n, 3) that ends before a photo."""
    far = 200.0 * np.ones(3)
    tile = random_tiles(assets, rng, GROUNDS)[0]
    reach = -places_m[:, 2].min() + rng.uniform(1.5, 12)
    scale = rng.uniform(0.25, 0.8, 3)
    return Room(-far * (1, 0, 1), far, np.full(3, tile), scale, float(reach))


def random_furniture(
    assets: Assets,
    rng: np.random.Generator,
    places_m: np.ndarray,
    *,
    low_m: np.ndarray,
    high_m: np.ndarray,
    most: int = 7,
    in_front: float = 0.25,
    clearance_m: float = 0.4,
) -> Mesh | None:
    """Up to `most` pieces on the floor, a share `in_front` of the people; None for none.

    They keep clear of the places (n, 3) of the people and of the camera at x = z = 0.
    """
    depths, parts = -places_m[:, 2], []
    for _ in range(rng.integers(0, most + 1)):
        half = np.array([rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.5)])
        if rng.random() < in_front:
            half *= 0.6
            depth = rng.uniform(1.2, max(1.4, depths.min() - 0.5))
            spot = np.array([rng.choice([-1, 1]) * rng.uniform(0.1, 0.5) * depth, 0, -depth])
        else:
            nearest = depths.min() if in_front > 0 else depths.max()
            spot = np.array([
                rng.uniform(low_m[0], high_m[0]), 0, -rng.uniform(nearest, -low_m[2])
            ])  # fmt: skip
        apart = np.hypot(*(places_m - spot)[:, [0, 2]].T).min()
        if apart < np.hypot(half[0], half[2]) + clearance_m or np.hypot(spot[0], spot[2]) < 1.1:
            continue
        rows = [
            material(room_tile=int(rng.integers(len(assets.room_tiles))),
                     tile_per_m=rng.uniform(0.8, 2), tint=rng.uniform(0.4, 1.1, 3))
            for _ in range(2)
        ]  # fmt: skip
        parts.append(furniture(rng, 2 * half, spot, *rows))
    return join(parts) if parts else None
