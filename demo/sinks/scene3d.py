"""The 3D view as a window of Open3D that can be turned with the mouse.

This is the only place that imports open3d: it is 948 MB and needs the GL libraries of a desktop.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np

from xnect.draw import colour_of
from xnect.errors import MissingExtra, XnectError
from xnect.skeleton import BODY
from xnect.types import Result

BONES = [(parent, joint) for joint, parent in enumerate(BODY.parents) if parent >= 0]
_Y_UP = np.array([1.0, -1.0, -1.0])  # camera axes -> Open3D's view


class Scene3d:
    """An open window of Open3D; `show` a result as often as there is one.

    Raises:
        MissingExtra: open3d is not installed, or lacks a library of the system.
        XnectError: there is no display.
    """

    def __init__(self) -> None:
        try:
            import open3d
        except (ImportError, OSError) as error:
            raise MissingExtra(
                f"the 3D viewer needs Open3D ({error}); install it: pip install 'xnect[viz]', "
                "on Debian also: apt-get install libegl1 libgl1 libusb-1.0-0"
            ) from error
        self._o3d: Any = open3d
        self._window = open3d.visualization.Visualizer()
        if not self._window.create_window("xnect 3D", width=960, height=720):
            raise XnectError("cannot open the 3D viewer: there is no display; leave out --open3d")
        self._bodies = open3d.geometry.LineSet()
        self._joints = open3d.geometry.PointCloud()
        self._floor: Any = None

    def show(self, result: Result) -> bool:
        """Show everybody; False when the user has closed the window."""
        people = result.people
        joints = [person.joints3d_m * _Y_UP for person in people]
        points = np.concatenate([*joints, np.zeros((0, 3))]).astype(np.float64)
        lines = [(a + 21 * i, b + 21 * i) for i in range(len(people)) for a, b in BONES]
        colours = np.array([colour_of(p.track_id) for p in people], np.float64).reshape(-1, 3) / 255
        vectors = self._o3d.utility
        self._bodies.points = self._joints.points = vectors.Vector3dVector(points)
        self._bodies.lines = vectors.Vector2iVector(np.array(lines, np.int32).reshape(-1, 2))
        self._bodies.colors = vectors.Vector3dVector(np.repeat(colours, len(BONES), axis=0))
        self._joints.colors = vectors.Vector3dVector(np.repeat(colours, 21, axis=0))
        if self._floor is None and len(points):
            self._begin(points)
        if self._floor is not None:
            self._window.update_geometry(self._bodies)
            self._window.update_geometry(self._joints)
        alive = bool(self._window.poll_events())
        self._window.update_renderer()
        return alive

    def close(self) -> None:
        """Close the window; closing twice is harmless."""
        self._window.destroy_window()

    def __enter__(self) -> Scene3d:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _begin(self, points: np.ndarray) -> None:
        """Add the geometry when there first is some: Open3D places its eye by its extent."""
        middle = np.round((points.min(0) + points.max(0)) / 2)
        self._floor = _floor(self._o3d, middle, float(points[:, 1].min()))
        for geometry in (self._floor, self._bodies, self._joints):
            self._window.add_geometry(geometry)
        render = self._window.get_render_option()
        render.background_color = np.array([0.09, 0.1, 0.13])
        render.line_width, render.point_size = 6.0, 9.0


def _floor(o3d: Any, middle: np.ndarray, y: float) -> Any:
    """A grid of 1 m, 8 m wide, around `middle` at height `y`."""
    ends = []
    for k in range(-4, 5):
        ends += [(k, y, -4), (k, y, 4), (-4, y, k), (4, y, k)]
    points = np.array(ends, np.float64) + np.array([middle[0], 0.0, middle[2]])
    grid = o3d.geometry.LineSet()
    grid.points = o3d.utility.Vector3dVector(points)
    grid.lines = o3d.utility.Vector2iVector(np.arange(len(ends), dtype=np.int32).reshape(-1, 2))
    grid.paint_uniform_color([0.3, 0.33, 0.38])
    return grid
