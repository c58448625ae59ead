"""What cannot be a camera, and what keeps one from being found: one sentence for the user."""

from __future__ import annotations


class CannotCalibrate(ValueError):
    """Pictures, points or people that do not tell what was asked; the text says what would."""


class BadCamera(ValueError):
    """Numbers that no camera has; the text says which."""
