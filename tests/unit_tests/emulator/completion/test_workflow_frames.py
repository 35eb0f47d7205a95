"""Stream modes and frames of the emulator's workflows."""

import pytest

from langchain_bailian_app.emulator import App, Node, Turn
from langchain_bailian_app.emulator._completion.workflow_frames import (
    FlowStreamMode,
    RenderedWorkflowReply,
    resolve_flow_stream_mode,
)
from langchain_bailian_app.emulator._completion.workflow_run import run_workflow
from langchain_bailian_app.emulator._http.errors import RequestRefused

TURN = Turn("去哪玩？", biz_params={"city": "杭州"})


@pytest.mark.parametrize(
    ("requested", "shows_thoughts", "mode"),
    [
        (None, True, "full_thoughts"),
        (None, False, None),
        ("full_thoughts", True, "full_thoughts"),
        ("full_thoughts", False, None),
        ("agent_format", True, "agent_format"),
        ("message_format", False, "message_format"),
    ],
)
def test_full_thoughts_is_the_default_mode_if_thoughts_are_shown(
    requested: str | None, shows_thoughts: bool, mode: str | None
) -> None:
    assert resolve_flow_stream_mode(requested, shows_thoughts=shows_thoughts) == mode


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(RequestRefused, match="flow_stream_mode must be one of full_thoughts"):
        resolve_flow_stream_mode("fast", shows_thoughts=True)


@pytest.mark.parametrize("incremental", [True, False])
@pytest.mark.parametrize(
    "mode", [None, "full_thoughts", "agent_format", "message_format", "message_format_plus"]
)
def test_frames_carry_the_text_piece_by_piece(mode: FlowStreamMode | None, incremental: bool) -> None:
    nodes = [
        Node("甲", text="一二三四五六七八九十", returns=False),
        Node("结束", "End", text="《${甲}》，再见，再见"),
    ]
    workflow_run = run_workflow(App("w", kind="workflow", nodes=nodes), TURN)
    reply = RenderedWorkflowReply(
        request_id="r",
        session_id="s",
        workflow_run=workflow_run,
        mode=mode,
        shows_thoughts=False,
        incremental=incremental,
        completed_as_text=False,
        end_repeats=False,
    )

    texts = [reply.sent_text(n) for n in range(reply.frame_count + 1)]

    assert texts[0] == ""
    assert texts[-1] == workflow_run.text
    assert all(workflow_run.text.startswith(text) for text in texts)
    assert texts == sorted(texts, key=len)
    assert len(list(reply.frame_payloads())) == reply.frame_count
