"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# no deadline: first calls are slow, and the machine may be busy with training
settings.register_profile(
    "xnect", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("xnect")
