"""A window of OpenCV, where there is a screen and an OpenCV that can use it."""

from __future__ import annotations

import os
import sys
from types import TracebackType

import numpy as np

from xnect.errors import XnectError

TITLE = "xnect"
ESCAPE = 27
INSTALL = "pip uninstall opencv-python-headless && pip install opencv-python"


def why_no_window() -> str:
    """One sentence about why a window cannot be shown; empty when it can.

    OpenCV built with Qt ends the whole process when there is no display, so that must be known
    before.
    """
    import cv2

    framework = getattr(cv2, "currentUIFramework", lambda: "")()
    if not framework:
        return f"this OpenCV has no windows; to get them: {INSTALL}"
    elsewhere = sys.platform in ("win32", "darwin")
    if not elsewhere and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display (DISPLAY and WAYLAND_DISPLAY are not set)"
    return ""


class Window:
    """An open window; `show` a picture as often as there is one."""

    def __init__(self) -> None:
        import cv2

        if reason := why_no_window():
            raise XnectError(f"cannot open a window: {reason}")
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = False

    def show(self, image: np.ndarray) -> str:
        """Show (H, W, 3) uint8 RGB; the key that was pressed, `q` for Escape or a closed window."""
        import cv2

        if not self._sized:
            height, width = image.shape[:2]
            scale = min(1.0, 1600 / width, 900 / height)
            cv2.resizeWindow(TITLE, round(width * scale), round(height * scale))
            self._sized = True
        cv2.imshow(TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(1) & 0xFF
        if key == ESCAPE or cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return "" if key == 0xFF else chr(key)

    def close(self) -> None:
        """Close the window; closing twice is harmless."""
        import cv2

        cv2.destroyAllWindows()

    def __enter__(self) -> Window:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
