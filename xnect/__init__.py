"""Live multi-person 3D motion capture from one ordinary RGB camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Camera", "Frame", "Person", "Result", "__version__", "load_pipeline"]

if TYPE_CHECKING:
    from xnect.calib.camera import Camera
    from xnect.model import load_pipeline
    from xnect.types import Frame, Person, Result

_HOMES = {
    "Camera": "xnect.calib.camera",
    "load_pipeline": "xnect.model",
    "Frame": "xnect.types",
    "Person": "xnect.types",
    "Result": "xnect.types",
}


def __getattr__(name: str) -> Any:
    """Import torch only when something needs it, so that `xnect --help` is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'xnect' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
