"""Tests of stream shapes known from captures and from clients, in all ways of calling.

The tests are grouped by subject.
"""

from __future__ import annotations

import html
import json
import operator
import re
import warnings
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest

from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.emulator import App, Node, Reply
from tests.call_styles import CALL_STYLES
from tests.fixtures import encode_sse, frame_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage, AIMessageChunk

    from langchain_bailian_app import BailianAppChatModel
    from langchain_bailian_app.emulator import BailianEmulator

    MakeModel = Callable[..., BailianAppChatModel]

HOST = "docmind-api-cn-hangzhou.oss-cn-hangzhou.aliyuncs.com"
PICTURES = [
    f"![图{n}](https://{HOST}/docs/{n}.png?Expires=17645{n}&OSSAccessKeyId=STS.example"
    f"&Signature=c2ln{n}%3D&security-token=dG9r{n})"
    for n in (1, 2)
]


async def call(model: BailianAppChatModel, style: str) -> tuple[AIMessage, list[str]]:
    """Return the message, and the texts that arrive one by one."""
    chunks: list[AIMessageChunk]
    match style:
        case "invoke":
            message = model.invoke("问")
            return message, [message.text]
        case "ainvoke":
            message = await model.ainvoke("问")
            return message, [message.text]
        case "stream":
            chunks = list(model.stream("问"))
        case _:
            chunks = [chunk async for chunk in model.astream("问")]
    return reduce(operator.add, chunks), [chunk.text for chunk in chunks if chunk.text]


each_call_style = pytest.mark.parametrize("style", [style.__name__ for style in CALL_STYLES])


def add_workflow(bailian: BailianEmulator, output: str, end: str, **fields: Any) -> str:
    """Add a workflow with an output node and an End node."""
    nodes = [
        Node("开始", "Start"),
        Node("分类", "Output", text=output),
        Node("结束", "End", text=end),
    ]
    return bailian.add_app(App("sorts", kind="workflow", nodes=nodes, **fields))


# -- point 1: the final text of a workflow is its answer ---------------------------------------------


@each_call_style
@pytest.mark.parametrize("mode", ["full_thoughts", "message_format", "message_format_plus"])
@pytest.mark.parametrize(
    ("output", "end"),
    [
        ("分类：绿茶。", "绿茶不发酵，红茶全发酵。"),
        ('["绿茶", "红茶"]', '{"kind": "绿茶", "hot": true}'),
    ],
)
async def test_the_answer_of_a_workflow_is_the_text_of_its_end_node(
    make_model: MakeModel, bailian: BailianEmulator, style: str, mode: str, output: str, end: str
) -> None:
    model = make_model(add_workflow(bailian, output, end), flow_stream_mode=mode, has_thoughts=True)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message, texts = await call(model, style)

    assert message.text == "".join(texts) == end
    assert len(texts) > 2 or "invoke" in style
    assert "final_text" not in message.response_metadata
    node = next(
        n for n in message.additional_kwargs["nodes"] if n["node_id"] == "Output_2" and "output" in n
    )
    assert (node["type"], node["output"]) == ("Output", output)


@each_call_style
@pytest.mark.parametrize("streaming", [None, False])
async def test_a_final_text_that_begins_with_the_output_node_is_the_answer(
    make_model: MakeModel, bailian: BailianEmulator, style: str, streaming: bool | None
) -> None:
    app_id = add_workflow(bailian, "先说，", "", final_text="先说，再说。")
    model = make_model(app_id, flow_stream_mode="message_format", streaming=streaming)

    message, texts = await call(model, style)

    assert message.text == "".join(texts) == "先说，再说。"
    assert "final_text" not in message.response_metadata


@each_call_style
async def test_a_final_text_that_comes_too_late_is_kept_with_a_warning(
    make_model: MakeModel, bailian: BailianEmulator, style: str
) -> None:
    app_id = add_workflow(bailian, "先说，", "再说。", final_text="先说，再说。")
    model = make_model(app_id, flow_stream_mode="message_format")

    with pytest.warns(UserWarning, match=r"final_text.*differs from the text of its End node"):
        message, texts = await call(model, style)

    assert message.text == "".join(texts) == "再说。"
    assert message.response_metadata["final_text"] == "先说，再说。"


@each_call_style
@pytest.mark.parametrize("answer_node", [None, "End"])
@pytest.mark.parametrize("mode", ["full_thoughts", "message_format", "message_format_plus"])
@pytest.mark.parametrize(
    ("end", "final_text", "text"),
    [
        pytest.param("绿茶。\n", "绿茶。", "绿茶。\n", id="at the end of the node"),
        pytest.param("绿茶。 \n\n", "绿茶。\n", "绿茶。 \n\n", id="of two kinds"),
        pytest.param("绿茶。", "绿茶。\n", "绿茶。\n", id="at the end of the final text"),
        pytest.param("\n\n绿茶。", "绿茶。", "\n\n绿茶。", id="at the beginning of the node"),
        pytest.param("\n绿茶。\n", "绿茶。", "\n绿茶。\n", id="around the node"),
        pytest.param("\n\n绿茶", "绿茶。", "\n\n绿茶。", id="before a longer final text"),
        pytest.param("\n", "绿茶。", "\n绿茶。", id="nothing else in the node"),
    ],
)
async def test_white_space_makes_no_difference_to_the_final_text(
    make_model: MakeModel,
    bailian: BailianEmulator,
    style: str,
    answer_node: str | None,
    mode: str,
    end: str,
    final_text: str,
    text: str,
) -> None:
    app_id = add_workflow(bailian, "分类", end, final_text=final_text)
    model = make_model(app_id, flow_stream_mode=mode, has_thoughts=True, answer_node=answer_node)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message, texts = await call(model, style)

    assert message.text == "".join(texts)
    assert message.text.strip() == final_text.strip()
    # With `full_thoughts`, the end of the node's text and the final text may be in the same frame.
    assert message.text == text or mode == "full_thoughts"
    assert "final_text" not in message.response_metadata


def node_result_frame(result: dict[str, Any], **output: Any) -> dict[str, Any]:
    """Return a frame of `full_thoughts` with the result of an End node."""
    node = {"nodeId": "End_1", "nodeType": "End", "nodeStatus": "executing"}
    response = node | {"nodeResult": json.dumps(result, ensure_ascii=False)}
    return frame_body(thoughts=[{"response": json.dumps(response, ensure_ascii=False)}], **output)


@each_call_style
@pytest.mark.parametrize(
    ("result", "final_text", "text"),
    [
        ({"result": "绿茶", "hot": True}, '{"result": "绿茶", "hot": true}', None),
        ({"kind": "绿茶"}, '{"kind": "绿茶"}', None),
        ({"result": "绿茶"}, "绿茶。", None),
        ({"result": "绿茶", "hot": True}, "", "绿茶"),
        ({"kind": "绿茶"}, {"kind": "绿茶"}, '{"kind": "绿茶"}'),
    ],
)
async def test_the_answer_of_a_workflow_may_be_json(
    make_model: MakeModel,
    bailian: BailianEmulator,
    style: str,
    result: dict[str, Any],
    final_text: Any,
    text: str | None,
) -> None:
    frames = [node_result_frame(result), frame_body(final_text, "stop")]
    model = make_model(bailian.replay(encode_sse(*frames)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message, texts = await call(model, style)

    assert message.text == "".join(texts) == (final_text if text is None else text)
    assert "final_text" not in message.response_metadata
    assert message.additional_kwargs["nodes"][-1]["output"] in (result, result.get("result"))


@each_call_style
async def test_a_final_text_that_adds_white_space_in_front_is_kept(
    make_model: MakeModel, bailian: BailianEmulator, style: str
) -> None:
    app_id = add_workflow(bailian, "分类", "绿茶。", final_text="\n绿茶。")

    with pytest.warns(UserWarning, match="final_text"):
        message, texts = await call(make_model(app_id, flow_stream_mode="message_format"), style)

    assert message.text == "".join(texts) == "绿茶。"
    assert message.response_metadata["final_text"] == "\n绿茶。"


@each_call_style
@pytest.mark.parametrize("answer_node", ["分类", "Output", "Output_2"])
async def test_an_output_node_can_be_named_as_the_answer(
    make_model: MakeModel, bailian: BailianEmulator, style: str, answer_node: str
) -> None:
    app_id = add_workflow(bailian, "分类：绿茶，不发酵的茶。", "绿茶不发酵。")
    model = make_model(app_id, answer_node=answer_node)

    with pytest.warns(UserWarning, match="differs from the text of node"):
        message, texts = await call(model, style)

    assert message.text == "".join(texts) == "分类：绿茶，不发酵的茶。"
    assert message.response_metadata["final_text"] == "绿茶不发酵。"
    assert len(texts) > 1 or "invoke" in style


# -- point 9: shapes of agent streams ----------------------------------------------------------------


@each_call_style
@pytest.mark.parametrize("kind", ["agent", "workflow"])
@pytest.mark.parametrize("streaming", [None, False])
@pytest.mark.parametrize("value", [True, False, None])
async def test_the_reject_status_is_in_the_response_metadata(
    make_model: MakeModel,
    bailian: BailianEmulator,
    style: str,
    kind: Any,
    streaming: bool | None,
    value: bool | None,
) -> None:
    app_id = bailian.add_app(App("rejects", kind=kind, answer="茶。", reject_status=value))

    message, _ = await call(make_model(app_id, streaming=streaming), style)

    assert message.text == "茶。"
    assert message.response_metadata.get("reject_status") is value
    assert "extra" not in message.response_metadata


@each_call_style
@pytest.mark.parametrize("pieces", [["一楼", "卖茶", "，", "二楼喝茶。"], ["茶。"], ["哈", "哈"], []])
@pytest.mark.parametrize("ignores_incremental", [False, True])
async def test_text_in_the_last_frame_is_part_of_the_answer(
    make_model: MakeModel,
    bailian: BailianEmulator,
    style: str,
    pieces: list[str],
    ignores_incremental: bool,
) -> None:
    reply = Reply("".join(pieces), pieces=pieces)
    app = App(
        "ends with text",
        answer=lambda _: reply,
        text_in_last_frame=True,
        ignores_incremental=ignores_incremental,
    )

    message, texts = await call(make_model(bailian.add_app(app)), style)

    assert message.text == "".join(texts) == "".join(pieces)
    assert message.response_metadata["finish_reason"] == "stop"


@each_call_style
async def test_empty_frames_while_a_model_thinks_add_nothing(
    make_model: MakeModel, bailian: BailianEmulator, style: str
) -> None:
    reply = Reply("绿茶不发酵。", reasoning="想" * 300)
    app_id = bailian.add_app(App("thinks", thinking="on", answer=lambda _: reply))

    message, texts = await call(make_model(app_id), style)

    assert bailian.requests[-1].frames_sent > 60
    assert message.text == "".join(texts) == "绿茶不发酵。"
    assert "reasoning_content" not in message.additional_kwargs
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 300


@each_call_style
async def test_pictures_arrive_whole_with_their_signed_urls(
    make_model: MakeModel, bailian: BailianEmulator, style: str
) -> None:
    text = f"第一步见图：{PICTURES[0]}，第二步见图：\n\n{PICTURES[1]}"
    app_id = bailian.add_app(App("shows", answer=text))

    message, texts = await call(make_model(app_id), style)

    assert message.text == "".join(texts) == text
    assert set(PICTURES) <= set(texts) or "invoke" in style
    images = re.findall('<img src="([^"]*)"', AnswerView(message, show_images=True)._repr_html_())
    assert [html.unescape(url) for url in images] == [picture[6:-1] for picture in PICTURES]
    assert "<img" not in AnswerView(message)._repr_html_()
