"""Tests of `AnswerView`: the view is the same for all forms of a message."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from rich.console import Console

from langchain_bailian_app.display import AnswerView
from tests.fixtures import (
    ANSWER_RECORDINGS,
    assemble,
    make_chunks,
    merge_chunks,
    parse_frames,
    read_recording,
)
from tests.unit_tests.display.messages import V1, recorded_message


@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_the_sum_of_chunks_looks_like_the_message(name: str) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)))
    chunks = make_chunks(deltas, answer)

    assert str(AnswerView(merge_chunks(chunks))) == str(AnswerView(recorded_message(name)))
    for count in range(1, len(chunks)):
        partial_view = AnswerView(merge_chunks(chunks[:count]))
        assert partial_view._repr_html_()
        assert isinstance(str(partial_view), str)


def test_a_message_as_v1_looks_the_same() -> None:
    message = recorded_message("markers-split.sse")
    v1 = AIMessage(
        [dict(block) for block in message.content_blocks],
        response_metadata=message.response_metadata | V1,
        usage_metadata=message.usage_metadata,
    )

    assert AnswerView(v1)._repr_html_() == AnswerView(message)._repr_html_()


def test_the_terminal_never_loads_pictures() -> None:
    host = "docmind-api-cn-hangzhou.oss-cn-hangzhou.aliyuncs.com"
    message = AIMessage(f"看图：![图](https://{host}/a.png?Signature=x)。")

    def print_rich(**options: Any) -> str:
        console = Console(width=200, force_terminal=True)
        with console.capture() as capture:
            console.print(AnswerView(message, **options))
        return capture.get()

    assert print_rich(show_images=True) == print_rich()
    assert f"https://{host}/a.png?Signature=x" in print_rich()
    assert "\x1b]8" not in print_rich(show_images=True)  # no hyperlink of the terminal
    assert "\x1b_G" not in print_rich(show_images=True)  # no graphics of the terminal
    assert str(AnswerView(message, show_images=True)) == str(AnswerView(message))


class UntranslatableMessage(AIMessage):
    """A message whose provider's translator fails."""

    @property
    def content_blocks(self) -> Any:
        raise KeyError


@pytest.mark.parametrize("content", ["茶", ["茶"], [{"type": "text", "text": "茶"}]])
def test_a_message_that_has_no_blocks_is_shown_as_it_is(content: Any) -> None:
    assert str(AnswerView(UntranslatableMessage(content))) == "茶"


# -- messages as dicts --------------------------------------------------------------------------------


def test_a_message_that_a_checkpoint_returns_as_a_dict_looks_the_same() -> None:
    answer = recorded_message("whole-answer.json")
    tool_message = ToolMessage("text", tool_call_id="1", artifact=answer)
    serializer = JsonPlusSerializer()
    restored = serializer.loads_typed(serializer.dumps_typed([tool_message]))[0].artifact

    assert isinstance(restored, dict)
    for artifact in (restored, answer.model_dump(mode="json")):
        assert str(AnswerView(artifact)) == str(AnswerView(answer))
        assert AnswerView(artifact)._repr_html_() == AnswerView(answer)._repr_html_()


@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_the_dict_of_a_message_looks_like_the_message(name: str) -> None:
    deltas, answer = assemble(parse_frames(read_recording(name)))
    for message in (recorded_message(name), merge_chunks(make_chunks(deltas, answer))):
        assert str(AnswerView(message.model_dump())) == str(AnswerView(message))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("茶", "got str"),
        (None, "got None"),
        ([AIMessage("茶")], "got list"),
        (HumanMessage("茶"), "got HumanMessage"),
        (ToolMessage("茶", tool_call_id="1"), "pass its `artifact`"),
        ({}, "got a dict with the type None"),
        (HumanMessage("茶").model_dump(), "got a dict with the type 'human'"),
        ({"type": "ai"}, "got a dict with invalid fields"),
        ({"type": "ai", "content": "茶", "tool_calls": 5}, "got a dict with invalid fields"),
    ],
)
def test_other_values_are_rejected(value: Any, expected: str) -> None:
    with pytest.raises(TypeError, match=r"^invalid `message`: expected an `AIMessage`") as caught:
        AnswerView(value)

    assert expected in str(caught.value)
