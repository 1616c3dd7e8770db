"""Settings of the property tests of this folder."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Derandomized, so that runs are reproducible; tmp_path may serve many examples, since
# each of them overwrites the file of the one before.
settings.register_profile(
    "files",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("files")
