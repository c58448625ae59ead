"""A network camera on this machine: MJPEG over HTTP, as cheap IP cameras send it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import cv2
import numpy as np
from movies import picture


class Camera:
    """Sends `show(number)`, number counting up over connections; hangs up after `per_call`."""

    def __init__(self, fps: float, per_call: int | None, calls: int | None) -> None:
        self.fps, self.per_call, self.calls = fps, per_call, calls
        self.sent = 0
        self.connections = 0


@contextmanager
def mjpeg_camera(
    *,
    fps: float = 60.0,
    per_call: int | None = None,
    calls: int | None = None,
    show: Callable[[int], np.ndarray] = lambda number: picture(number % 50),
) -> Iterator[tuple[str, Camera]]:
    """The address of a camera, and what it did.  After `calls` connections it refuses."""
    camera = Camera(fps, per_call, calls)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if camera.calls is not None and camera.connections >= camera.calls:
                self.send_error(404)
                return
            camera.connections += 1
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            sent = 0
            while camera.per_call is None or sent < camera.per_call:
                _, jpeg = cv2.imencode(".jpg", show(camera.sent)[..., ::-1])
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + jpeg.tobytes() + b"\r\n")
                except OSError:  # the viewer has hung up
                    return
                camera.sent += 1
                sent += 1
                time.sleep(1 / camera.fps)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/camera.mjpg", camera
    finally:
        camera.per_call = 0  # ends the handlers
        server.shutdown()
        server.server_close()
        thread.join()
