"""What a user can cause, each with one sentence: what was wrong, the value, what would be right."""

from __future__ import annotations

from collections.abc import Sequence


class XnectError(Exception):
    """Base of every error that a user can cause; its text is one sentence for that user."""


class BadInput(XnectError, ValueError):
    """A value, array or image of the wrong kind, shape or range."""


class CannotOpenSource(XnectError, OSError):
    """A camera, file or stream that does not open, or holds no pictures."""


class CannotWrite(XnectError, OSError):
    """A folder that cannot be written, or a disk that is full."""


class BadWeights(XnectError, ValueError):
    """A weights file that is missing, corrupted, or made for another network."""


class UnknownName(XnectError, KeyError):
    """A name that is not among those that exist; the text lists them."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; known: {', '.join(known)}")

    def __str__(self) -> str:  # KeyError would show the repr
        return str(self.args[0])


class MissingExtra(XnectError, ImportError):
    """An optional package that is not installed; the text names the command that installs it."""
