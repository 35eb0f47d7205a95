"""Detection of the first token."""

from typing import Any

import pytest

from langchain_bailian_app._answer.first_token import has_token
from tests.fixtures import encode_sse, frame_body, parse_frames

NODE = {"node_id": "End_1", "node_type": "End", "message": {"content": ""}}


@pytest.mark.parametrize(
    "output",
    [
        {"text": "好"},
        {"text": " "},
        {"thoughts": [{"action_type": "reasoning", "thought": "想"}]},
        {"thoughts": [{"action_type": "reasoning", "thought": "", "response": "想"}]},
        {"thoughts": [{"reasoning_content": "想"}]},
        {"thoughts": [{"action_type": "agentRag", "action": "", "observation": ""}]},
        {"thoughts": [{"action_type": "reasoning", "thought": ""}, {"action_name": "plugin"}]},
        {"workflow_message": NODE},
    ],
)
def test_text_reasoning_steps_and_nodes_are_tokens(output: dict[str, Any]) -> None:
    (frame,) = parse_frames(encode_sse(frame_body(**output)))

    assert has_token(frame)


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"text": None},
        {"finish_reason": "stop"},
        {"thoughts": []},
        {"thoughts": [{}]},
        {"thoughts": [{"action_type": "reasoning", "thought": "", "response": None}]},
        {"thoughts": [{"action_type": "", "thought": "", "observation": None}]},
        {"workflow_message": {}},
        {"reject_status": False, "new_field": "x"},
    ],
)
def test_an_empty_frame_has_no_token(output: dict[str, Any]) -> None:
    (frame,) = parse_frames(encode_sse(frame_body(**output)))

    assert not has_token(frame)
