"""What keeps a calibration from being made: one sentence for the user."""

from __future__ import annotations


class CannotCalibrate(ValueError):
    """Pictures, points or people that do not tell what was asked; the text says what would."""
