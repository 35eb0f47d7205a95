"""Settings of the property tests."""

import os

from hypothesis import Phase, settings

settings.register_profile("unit", max_examples=60, deadline=None, derandomize=True)
# A mutant need only be noticed, not explained.
settings.register_profile(
    "mutation", settings.get_profile("unit"), max_examples=20, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "unit")
