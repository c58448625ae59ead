"""timm without torchvision: names that stand where torchvision's stood, and refuse to be used.

timm names torchvision classes while it is imported (as base classes, in annotations, as keys of
tables); its networks never call them.  `import_timm()` is for parity tests:

    timm = import_timm()  # skips, with the reason, where timm is not installed

A real torchvision wins.  The stub is gone again when timm is in, so that nobody else meets it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import pytest


class Refusing(type):
    """A class that may be named, inherited from and asked for further names, but never called."""

    def __getattr__(cls, name: str) -> Refusing:
        return stand_in(f"{cls.__qualname__}.{name}", name)

    def __call__(cls, *args: object, **kwargs: object) -> None:
        raise NotImplementedError(f"{cls.__qualname__} needs torchvision, which is not installed")


def stand_in(qualified: str, name: str) -> Refusing:
    if name.startswith("__"):  # questions of the interpreter, not of timm
        raise AttributeError(name)
    return Refusing(name, (), {"__qualname__": qualified})


class StubFinder(MetaPathFinder, Loader):
    """Finds torchvision and all below it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_ours = fullname.split(".")[0] == "torchvision"
        return ModuleSpec(fullname, self, is_package=True) if is_ours else None

    def exec_module(self, module: ModuleType) -> None:
        prefix = module.__name__
        module.__getattr__ = lambda name: stand_in(f"{prefix}.{name}", name)


@contextmanager
def torchvision_stub() -> Iterator[None]:
    """While open, `import torchvision` works; a real torchvision is left alone."""
    if find_spec("torchvision") is not None:
        yield
        return
    finder = StubFinder()
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]


def import_timm() -> ModuleType:
    with torchvision_stub():
        return pytest.importorskip("timm", reason="parity is measured against timm")
