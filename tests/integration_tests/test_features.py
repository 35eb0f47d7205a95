"""The table of features in README is what a run of `tests/features.py` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import features

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator


def test_what_is_documented_works_and_the_readme_says_so(bailian: BailianEmulator) -> None:
    made = features.table(bailian)
    _, _, after = features.README.read_text("utf-8").partition(features.BEGIN)
    written, _, _ = after.partition(features.END)

    assert "| no effect |" not in made
    assert "| refused |" not in made
    assert f"{features.BEGIN}{written}{features.END}" == made, "run `python tests/features.py --write`"


def test_what_is_unverified_is_not_called_documented() -> None:
    for feature in features.FEATURES:
        marks = f"{feature.documented} {feature.unverified} {feature.senseless}".split()

        assert len(set(marks)) == len(marks), feature.name
        assert set(marks) <= set(features.COLUMNS), feature.name


def test_a_feature_without_effect_is_not_told_to_work(bailian: BailianEmulator) -> None:
    # The emulator's Agent 2.0 does not search what `rag_options` say.
    for feature in features.FEATURES:
        if feature.name == "`rag_options`":
            claimed = feature._replace(documented="A1 A2", unverified="")

            assert features.cell(claimed, "A1", bailian) == "works"
            assert features.cell(claimed, "A2", bailian) == "no effect"
