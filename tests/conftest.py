"""Settings of all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# no deadline: first calls are slow, and the machine may be busy with training
settings.register_profile(
    "xnect", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("xnect")


@pytest.fixture(scope="session")
def assets() -> Any:
    """The asset pack of synthetic people with tiny textures; skips where it is absent."""
    from xnect.synth.assets import load_assets

    pack = Path(__file__).resolve().parents[2] / "shared" / "data" / "synth"
    if not (pack / "body.npz").exists():
        pytest.skip(f"no asset pack in {pack}")
    return load_assets(pack, texture_px=32)
