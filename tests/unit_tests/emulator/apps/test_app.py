"""Checks of an application when it is constructed."""

from typing import Any

import pytest

from langchain_bailian_app.emulator import App, Node


def test_invalid_apps_and_nodes_are_rejected_on_construction() -> None:
    invalid: Any = 1
    with pytest.raises(TypeError, match="`text` of a node"):
        Node("甲", text=invalid)
    with pytest.raises(TypeError, match="`reasoning` of a node"):
        Node("甲", reasoning=invalid)
    with pytest.raises(ValueError, match="duplicate node id"):
        App("w", kind="workflow", nodes=[Node("甲", node_id="x"), Node("乙", node_id="x")])
    with pytest.raises(ValueError, match="cannot use `nodes` or `variables`"):
        App("a", nodes=[Node("甲")])
    with pytest.raises(ValueError, match="cannot use `nodes` or `variables`"):
        App("a", variables={"city": str})
    with pytest.raises(TypeError, match="type of variable 'city'"):
        App("w", kind="workflow", variables={"city": invalid})


def test_thoughts_cannot_be_sent_always_and_never() -> None:
    with pytest.raises(ValueError, match="never_thoughts"):
        App("x", always_thoughts=True, never_thoughts=True)
