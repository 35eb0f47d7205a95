"""Tests that the table of features in README matches a run of `tests/feature_matrix.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import feature_matrix

if TYPE_CHECKING:
    from langchain_bailian_app.emulator import BailianEmulator


@pytest.mark.slow
def test_documented_features_work_and_the_readme_is_up_to_date(bailian: BailianEmulator) -> None:
    rendered = feature_matrix.render_table(bailian)
    _, _, after = feature_matrix.README.read_text("utf-8").partition(feature_matrix.BEGIN_MARKER)
    current, _, _ = after.partition(feature_matrix.END_MARKER)

    assert "| no effect |" not in rendered
    assert "| refused |" not in rendered
    assert f"{feature_matrix.BEGIN_MARKER}{current}{feature_matrix.END_MARKER}" == rendered, (
        "run `python tests/feature_matrix.py --write`"
    )


def test_unverified_features_are_not_marked_as_documented() -> None:
    for feature in feature_matrix.FEATURES:
        columns = f"{feature.documented} {feature.unverified} {feature.not_applicable}".split()

        assert len(set(columns)) == len(columns), feature.name
        assert set(columns) <= set(feature_matrix.COLUMNS), feature.name


def test_a_feature_without_effect_is_not_reported_as_working(bailian: BailianEmulator) -> None:
    # The emulator's Agent 2.0 ignores `rag_options`.
    for feature in feature_matrix.FEATURES:
        if feature.name == "`rag_options`":
            claimed = feature._replace(documented="A1 A2", unverified="")

            assert feature_matrix.render_cell(claimed, "A1", bailian) == "works"
            assert feature_matrix.render_cell(claimed, "A2", bailian) == "no effect"
