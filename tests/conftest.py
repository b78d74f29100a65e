"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# The same examples in every run, no files left behind, and no limit on how long a slow machine may take.
settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")
