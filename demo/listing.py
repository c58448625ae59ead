"""What can be chosen: presets, backbones, weights."""

from __future__ import annotations

from collections.abc import Sequence


def listing() -> str:
    """Lines for the user."""
    from xnect.model import (
        BUNDLED_REFINERS,
        DEFAULT_PRESET,
        DEFAULT_REFINER,
        LANES,
        WEIGHTS,
        bundled_weights,
    )
    from xnect.network import PRESETS

    lines = ["presets:"]
    for name, preset in PRESETS.items():
        height, width = preset.input_hw
        bundled = "" if bundled_weights(name).is_file() else ", no bundled weights"
        default = ", default" if name == DEFAULT_PRESET else ""
        lines.append(f"  {name}  {width}x{height}{default}{bundled}")
    lines.append("refiners:")
    for name, file in BUNDLED_REFINERS.items():
        lanes = [lane for lane in LANES if (WEIGHTS / lane / f"{file}.safetensors").is_file()]
        default = ", default" if name == DEFAULT_REFINER else ""
        lines.append(f"  {name}  {', '.join(lanes) or 'no bundled weights'}{default}")
    lines += ["backbones:", *backbone_lines()]
    files = sorted(WEIGHTS.glob("*/*.safetensors"))
    lines.append(f"weights in {WEIGHTS}:")
    lines += [
        f"  {path.parent.name}/{path.name}  {path.stat().st_size / 1e6:.1f} MB" for path in files
    ] or ["  none"]
    return "\n".join(lines)


def backbone_lines() -> list[str]:
    """A table: name and tag, input, top-1 on ImageNet where known, licence of the weights."""
    from xnect.backbones import PRETRAINED, list_backbones

    rows: list[Sequence[str]] = [("name", "input", "top-1 %", "weights on huggingface.co/timm")]
    for name in list_backbones():
        published = [config for config in PRETRAINED.values() if config.architecture == name]
        for config in published:
            height, width = config.input_hw
            top1 = "" if config.top1 is None else f"{config.top1:.2f}"
            rows.append((config.name, f"{width}x{height}", top1, config.licence))
        if not published:
            rows.append((name, "", "", "none"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return [
        f"  {row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}"
        for row in rows
    ]
