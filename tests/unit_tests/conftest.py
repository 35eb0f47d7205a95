"""Settings of the property-based tests."""

import os

from hypothesis import Phase, settings

settings.register_profile("unit", max_examples=60, deadline=None, derandomize=True)
# A mutant only has to be detected: no shrinking.
settings.register_profile(
    "mutation", settings.get_profile("unit"), max_examples=20, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "unit")
