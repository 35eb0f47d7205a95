"""Settings of the property tests."""

from hypothesis import settings

settings.register_profile("unit", max_examples=60, deadline=None, derandomize=True)
settings.load_profile("unit")
