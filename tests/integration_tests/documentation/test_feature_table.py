"""The table of features in README is what a run of `tests/feature_matrix.py` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import feature_matrix

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator


def test_what_is_documented_works_and_the_readme_says_so(bailian: BailianEmulator) -> None:
    made = feature_matrix.table(bailian)
    _, _, after = feature_matrix.README.read_text("utf-8").partition(feature_matrix.BEGIN)
    written, _, _ = after.partition(feature_matrix.END)

    assert "| no effect |" not in made
    assert "| refused |" not in made
    assert f"{feature_matrix.BEGIN}{written}{feature_matrix.END}" == made, (
        "run `python tests/feature_matrix.py --write`"
    )


def test_what_is_unverified_is_not_called_documented() -> None:
    for feature in feature_matrix.FEATURES:
        marks = f"{feature.documented} {feature.unverified} {feature.senseless}".split()

        assert len(set(marks)) == len(marks), feature.name
        assert set(marks) <= set(feature_matrix.COLUMNS), feature.name


def test_a_feature_without_effect_is_not_told_to_work(bailian: BailianEmulator) -> None:
    # The emulator's Agent 2.0 does not search what `rag_options` say.
    for feature in feature_matrix.FEATURES:
        if feature.name == "`rag_options`":
            claimed = feature._replace(documented="A1 A2", unverified="")

            assert feature_matrix.cell(claimed, "A1", bailian) == "works"
            assert feature_matrix.cell(claimed, "A2", bailian) == "no effect"
