"""What can be chosen: presets, backbones, weights."""

from __future__ import annotations

from pathlib import Path


def listing() -> str:
    """Lines for the user."""
    import xnect.weights
    from xnect.backbones import selecsls
    from xnect.model import PRESETS

    folder = Path(xnect.weights.__file__).parent
    weights = [
        f"  {path.name}  {path.stat().st_size / 1e6:.1f} MB"
        for path in sorted(folder.glob("*.safetensors"))
    ]
    backbones = sorted(getattr(selecsls, "__all__", ()))
    return "\n".join(
        [
            "presets:", *(f"  {name}  {preset}" for name, preset in PRESETS.items()),
            "backbones:", *(f"  {name}" for name in backbones),
            f"weights in {folder}:", *(weights or ["  none"]),
        ]
    )  # fmt: skip
