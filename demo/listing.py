"""What can be chosen: presets, backbones, weights."""

from __future__ import annotations


def listing() -> str:
    """Lines for the user."""
    from xnect import backbones
    from xnect.model import DEFAULT_PRESET, WEIGHTS, bundled_weights
    from xnect.network import PRESETS

    lines = ["presets:"]
    for name, preset in PRESETS.items():
        height, width = preset.input_hw
        bundled = "" if bundled_weights(name).is_file() else ", no bundled weights"
        default = ", default" if name == DEFAULT_PRESET else ""
        lines.append(f"  {name}  {width}x{height}{default}{bundled}")
    made = [name for name in backbones.__all__ if name.islower()]
    lines += ["backbones:", *(f"  {name}" for name in made)]
    files = sorted(WEIGHTS.glob("*.safetensors"))
    lines.append(f"weights in {WEIGHTS}:")
    lines += [f"  {path.name}  {path.stat().st_size / 1e6:.1f} MB" for path in files] or ["  none"]
    return "\n".join(lines)
