"""Tests of the emulator's replies for workflows: all keys, in all modes, with and without a stream."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import dashscope
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, ErrorReply, Faults, Node, Reply, Turn
from langchain_bailian_app.emulator._apps.samples import WORKFLOW_APP_ID
from tests.integration_tests.emulator.test_completion import call_app, get_output, parse_frames

MODES = ["full_thoughts", "agent_format", "message_format", "message_format_plus"]
START = Node("开始", "Start", exec_ms=0)
FIRST = "西湖醋鱼，龙井虾仁，东坡肉，叫花鸡，宋嫂鱼羹"
SECOND = "西湖，灵隐寺，宋城，西溪国家湿地公园"


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


def add_workflow(bailian: BailianEmulator, *nodes: Node, **fields: Any) -> str:
    return bailian.add_app(App("workflow", kind="workflow", nodes=nodes, **fields))


def stream_frames(
    bailian: BailianEmulator,
    app_id: str,
    mode: str | None = None,
    input_fields: Any = "问",
    **parameters: Any,
) -> list[dict[str, Any]]:
    """Return the frames of an incremental stream."""
    request_parameters = (
        {"incremental_output": True} | ({"flow_stream_mode": mode} if mode else {}) | parameters
    )
    return parse_frames(call_app(bailian, input_fields, app_id=app_id, sse=True, **request_parameters))


def parse_nodes(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes in the thoughts of a frame, with nested JSON parsed."""
    nodes = [json.loads(thought["response"]) for thought in payload["output"]["thoughts"]]
    for node in nodes:
        if "nodeResult" in node:
            node["nodeResult"] = json.loads(node["nodeResult"])
    return nodes


def workflow_messages(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages of all frames except the last, which has none."""
    *earlier_frames, last_frame = frames
    assert "workflow_message" not in last_frame["output"]
    assert all("text" not in frame["output"] for frame in earlier_frames)
    return [frame["output"]["workflow_message"] for frame in earlier_frames]


def message_contents(messages: list[dict[str, Any]], node_type: str) -> list[str]:
    return [m["message"]["content"] for m in messages if m["node_type"] == node_type]


def add_two_model_workflow(bailian: BailianEmulator, **fields: Any) -> str:
    """Add a workflow of two models and an End node with its own text."""
    return add_workflow(
        bailian,
        START,
        Node("大模型_1", text=FIRST, node_id="LLM_a", exec_ms=1167),
        Node("大模型_2", text=SECOND, node_id="LLM_b", reasoning="想一想再说话吧", returns=False),
        Node("结束", "End", text="还满意吗", streams=False),
        **fields,
    )


@pytest.mark.parametrize("incremental", [True, False])
def test_full_thoughts_list_all_nodes_so_far(bailian: BailianEmulator, incremental: bool) -> None:
    app_id = add_two_model_workflow(bailian)

    frames = stream_frames(
        bailian, app_id, "full_thoughts", has_thoughts=True, incremental_output=incremental
    )

    first_frame, *middle_frames, last_frame = frames
    assert set(first_frame["output"]) == {"session_id", "finish_reason"}
    assert first_frame["usage"] == {}
    start_node = {"nodeName": "开始", "nodeType": "Start", "nodeStatus": "success", "nodeId": "Start_1"}
    assert parse_nodes(middle_frames[0]) == [{**start_node, "nodeExecTime": "0ms"}]
    start_of_llm = {
        "nodeName": "LLM_a",
        "nodeType": "LLM",
        "nodeStatus": "executing",
        "nodeId": "LLM_a",
    }
    assert parse_nodes(middle_frames[1])[1:] == [{**start_of_llm, "nodeResult": {"result": ""}}]
    assert middle_frames[1]["usage"] == {}
    by_node: dict[str, list[dict[str, Any]]] = {}
    for frame in [*middle_frames, last_frame]:
        assert [node["nodeId"] for node in parse_nodes(frame)][: len(by_node)] == list(by_node)
        for node in parse_nodes(frame):
            by_node.setdefault(node["nodeId"], []).append(node)
    assert list(by_node) == ["Start_1", "LLM_a", "LLM_b", "End_4"]
    assert {node["nodeName"] for node in by_node["LLM_a"][1:]} == {"大模型_1"}
    # As recorded: one frame in which one node ends and the next starts.
    (shared_frame,) = [
        f for f in middle_frames if len(parse_nodes(f)) > 2 and parse_nodes(f)[2]["nodeName"] == "LLM_b"
    ]
    assert parse_nodes(shared_frame)[1]["nodeStatus"] == "success"
    assert parse_nodes(shared_frame)[1]["nodeExecTime"] == "1167ms"
    results = [node["nodeResult"]["result"] for node in by_node["LLM_a"]]
    if incremental:
        assert "".join(results) == FIRST
        assert results[-1] == ""
    else:
        assert all(b.startswith(a) for a, b in itertools.pairwise(results))
        assert results[-1] == FIRST
    reasoning_contents = [node["nodeResult"]["reasoningContent"] for node in by_node["LLM_b"]]
    assert ("".join(reasoning_contents) if incremental else reasoning_contents[-1]) == "想一想再说话吧"
    assert last_frame["output"]["text"] == "还满意吗"
    assert last_frame["output"]["finish_reason"] == "stop"
    assert parse_nodes(last_frame)[3]["nodeResult"] == {"result": "还满意吗"}
    assert [frame["output"].get("text") for frame in [first_frame, *middle_frames]] == [None] * (
        1 + len(middle_frames)
    )
    model_counts = [len(frame["usage"].get("models", [])) for frame in frames]
    assert model_counts == sorted(model_counts)
    assert [entry["model_id"] for entry in last_frame["usage"]["models"]] == ["qwen-plus"] * 2


def test_thoughts_are_sent_only_on_request(bailian: BailianEmulator) -> None:
    app_id = add_two_model_workflow(bailian)

    without_thoughts = stream_frames(bailian, app_id, "full_thoughts")
    without_mode = stream_frames(bailian, app_id)
    with_thoughts = stream_frames(bailian, app_id, has_thoughts=True)

    for frames in (without_thoughts, without_mode):
        first, last = (frame["output"] for frame in frames)
        assert "text" not in first
        assert last["text"] == "还满意吗"
        assert "thoughts" not in last
    assert len(parse_nodes(with_thoughts[-1])) == 4
    assert len(with_thoughts) > 10


def test_agent_format_is_the_text_of_the_nodes_that_are_returned(bailian: BailianEmulator) -> None:
    app_id = add_two_model_workflow(bailian)

    frames = stream_frames(bailian, app_id, "agent_format")
    cumulative = stream_frames(bailian, app_id, "agent_format", incremental_output=False)

    texts = [frame["output"]["text"] for frame in frames]
    assert "".join(texts) == FIRST + "还满意吗"
    assert texts[-1] == "还满意吗"
    assert frames[-1]["output"]["finish_reason"] == "stop"
    assert len(frames[0]["usage"]["models"]) == 1
    assert len(frames[-1]["usage"]["models"]) == 2
    assert all(set(f["output"]) == {"session_id", "finish_reason", "text"} for f in frames)
    assert cumulative[-1]["output"]["text"] == FIRST + "还满意吗"


def test_agent_format_repeats_no_text_by_default(bailian: BailianEmulator) -> None:
    app_id = add_workflow(bailian, answer=FIRST)

    once = stream_frames(bailian, app_id, "agent_format")
    bailian.apps[app_id].end_repeats = True
    twice = stream_frames(bailian, app_id, "agent_format")

    assert "".join(frame["output"]["text"] for frame in once) == FIRST
    assert once[-1]["output"]["text"] != ""
    assert "".join(frame["output"]["text"] for frame in twice) == FIRST * 2


def test_agent_format_has_the_end_text_of_a_model_that_is_not_returned(
    bailian: BailianEmulator,
) -> None:
    app_id = add_workflow(bailian, Node("甲", text=FIRST, returns=False), Node("结束", "End"))

    (frame,) = stream_frames(bailian, app_id, "agent_format")

    assert frame["output"]["text"] == FIRST


def test_message_format_has_end_and_output_nodes(bailian: BailianEmulator) -> None:
    app_id = add_workflow(
        bailian,
        START,
        Node("大模型_1", text=FIRST),
        Node("先说", "Output", text="先说一句", streams=False),
        Node("结束", "End"),
    )

    for incremental in (True, False):
        frames = stream_frames(bailian, app_id, "message_format", incremental_output=incremental)
        messages = workflow_messages(frames)
        assert messages[0] == {
            "node_status": "success",
            "node_type": "Output",
            "node_msg_seq_id": 1,
            "node_name": "先说",
            "message": {"content": "先说一句", "role": "assistant"},
            "node_is_completed": True,
            "node_id": "Output_3",
        }
        ends = messages[1:]
        assert {(m["node_type"], m["node_name"], m["node_id"]) for m in ends} == {
            ("End", "结束", "End_4")
        }
        assert [m["node_msg_seq_id"] for m in ends] == list(range(1, len(ends) + 1))
        assert [m["node_is_completed"] for m in ends] == [False] * (len(ends) - 1) + [True]
        assert [m["node_status"] for m in ends] == ["executing"] * (len(ends) - 1) + ["success"]
    assert message_contents(ends, "End")[-1] == ""
    assert "".join(message_contents(ends, "End")) == frames[-1]["output"]["text"] == FIRST


def test_message_format_plus_has_all_nodes(bailian: BailianEmulator) -> None:
    input_fields = {"prompt": "问", "biz_params": {"city": "杭州", "days": 3}}
    app_id = add_workflow(
        bailian,
        START,
        Node("大模型_1", text=FIRST, reasoning="想一想再说话吧"),
        Node("插件", "Plugin", text="晴"),
        Node("结束", "End", text="${大模型_1}"),
    )

    frames = stream_frames(bailian, app_id, "message_format_plus", input_fields)

    messages = workflow_messages(frames)
    start_message, *other_messages = messages
    assert start_message["node_is_completed"] is True
    assert json.loads(start_message["message"]["content"]) == {"user": {"city": "杭州", "days": 3}}
    *pieces, completion_content = message_contents(other_messages, "LLM")
    assert completion_content == ""
    parsed_pieces = [json.loads(piece) for piece in pieces]
    assert all(set(piece) == {"result", "reasoningContent"} for piece in parsed_pieces)
    assert "".join(piece["result"] for piece in parsed_pieces) == FIRST
    assert "".join(piece["reasoningContent"] for piece in parsed_pieces) == "想一想再说话吧"
    assert message_contents(other_messages, "Plugin") == ['{"result":"晴"}']
    assert message_contents(other_messages, "End") == [""]
    assert frames[-1]["output"]["text"] == FIRST
    usages = [frame["usage"] for frame in frames]
    assert usages[0] == {}
    assert usages[-1]["models"][0]["model_id"] == "qwen-plus"


def test_an_end_node_emits_text_when_it_adds_to_the_model_or_may_repeat_it(
    bailian: BailianEmulator,
) -> None:
    extended = add_workflow(bailian, Node("甲", text="一"), Node("结束", "End", text="${甲}！"))
    repeated = add_workflow(bailian, Node("甲", text="一"), Node("结束", "End"), end_repeats=True)

    assert (
        "".join(
            message_contents(
                workflow_messages(stream_frames(bailian, extended, "message_format_plus")), "End"
            )
        )
        == "一！"
    )
    assert (
        "".join(
            message_contents(
                workflow_messages(stream_frames(bailian, repeated, "message_format_plus")), "End"
            )
        )
        == "一"
    )


def test_a_node_that_does_not_stream_is_one_block(bailian: BailianEmulator) -> None:
    app_id = add_workflow(
        bailian,
        Node("甲", text=FIRST, reasoning="想", streams=False),
        Node("结束", "End", text="《${甲}》", streams=False),
    )

    model, end = workflow_messages(stream_frames(bailian, app_id, "message_format_plus"))
    *_, last = stream_frames(bailian, app_id, has_thoughts=True)

    assert json.loads(model["message"]["content"]) == {"result": FIRST, "reasoningContent": "想"}
    assert model["node_is_completed"] is end["node_is_completed"] is True
    assert end["message"]["content"] == f"《{FIRST}》"
    assert parse_nodes(last)[1]["nodeResult"] == {"result": f"《{FIRST}》"}


def test_node_is_completed_can_be_a_string(bailian: BailianEmulator) -> None:
    app_id = add_workflow(bailian, completed_as_text=True)

    flags = [
        m["node_is_completed"]
        for m in workflow_messages(stream_frames(bailian, app_id, "message_format"))
    ]

    assert flags == ["false"] * (len(flags) - 1) + ["true"]


def test_parallel_nodes_are_interleaved(bailian: BailianEmulator) -> None:
    app_id = add_workflow(
        bailian, Node("甲", text=FIRST), Node("乙", text=SECOND, parallel=True), Node("结束", "End")
    )

    messages = workflow_messages(stream_frames(bailian, app_id, "message_format_plus"))
    thoughts = stream_frames(bailian, app_id, has_thoughts=True)

    ids = [m["node_id"] for m in messages if m["node_type"] == "LLM"]
    assert ids[:4] == ["LLM_1", "LLM_2"] * 2
    for node_id, text in (("LLM_1", FIRST), ("LLM_2", SECOND)):
        pieces = [m["message"]["content"] for m in messages if m["node_id"] == node_id][:-1]
        assert "".join(json.loads(piece)["result"] for piece in pieces) == text
        entries = [n for f in thoughts[1:] for n in parse_nodes(f) if n["nodeId"] == node_id]
        assert "".join(entry["nodeResult"]["result"] for entry in entries) == text
    assert len(thoughts[-1]["usage"]["models"]) == 2


@pytest.mark.parametrize(("status", "completed"), [("failed", True), ("paused", False)])
def test_an_unsuccessful_node_ends_the_reply_without_a_text(
    bailian: BailianEmulator, status: Any, completed: bool
) -> None:
    app_id = add_workflow(
        bailian, START, Node("甲", text=FIRST), Node("问", "Ask", status=status), Node("结束", "End")
    )

    for mode in MODES:
        last = stream_frames(bailian, app_id, mode, has_thoughts=True)[-1]["output"]
        assert last["text"] == ""
        assert last["finish_reason"] == "stop"
    message = workflow_messages(stream_frames(bailian, app_id, "message_format_plus"))[-1]
    assert (message["node_status"], message["node_is_completed"]) == (status, completed)
    entry = parse_nodes(stream_frames(bailian, app_id, has_thoughts=True)[-1])[-1]
    assert entry["nodeStatus"] == status
    assert "nodeExecTime" not in entry
    assert get_output(call_app(bailian, "问", app_id=app_id))["text"] == ""


@pytest.mark.parametrize("mode", [None, *MODES])
def test_the_final_text_may_differ_from_the_streamed_text(
    bailian: BailianEmulator, mode: str | None
) -> None:
    app_id = add_workflow(bailian, answer=FIRST, final_text=FIRST + SECOND)

    assert stream_frames(bailian, app_id, mode)[-1]["output"]["text"] == FIRST + SECOND


def test_a_reply_without_a_stream_is_one_json(bailian: BailianEmulator) -> None:
    app_id = add_two_model_workflow(bailian)

    plain = call_app(bailian, "问", app_id=app_id, flow_stream_mode="message_format").json()
    thoughtful = call_app(bailian, "问", app_id=app_id, has_thoughts=True).json()

    assert set(plain["output"]) == {"finish_reason", "session_id", "text"}
    assert plain["output"]["text"] == "还满意吗"
    assert len(plain["usage"]["models"]) == 2
    nodes = parse_nodes(thoughtful)
    assert [node["nodeName"] for node in nodes] == ["开始", "大模型_1", "大模型_2", "结束"]
    assert nodes[2]["nodeResult"] == {"result": SECOND, "reasoningContent": "想一想再说话吧"}


def test_usage_is_empty_without_a_model_and_names_each_one(bailian: BailianEmulator) -> None:
    without_model = add_workflow(bailian, START, Node("结束", "End", text="${sourceCode}"))
    two_models = add_workflow(
        bailian, Node("甲", text="一", model_id="qwen-max"), Node("乙", text="二")
    )
    usage = [{"model_id": "m", "input_tokens": 1, "output_tokens": 2}]
    scripted = add_workflow(bailian, answer=lambda _: Reply("一", usage=usage))

    input_fields = {"prompt": "问", "biz_params": {"sourceCode": "code"}}
    reply = call_app(bailian, input_fields, app_id=without_model).json()

    assert reply["usage"] == {}
    assert reply["output"]["text"] == "code"
    entries = call_app(bailian, "问", app_id=two_models).json()["usage"]["models"]
    assert [entry["model_id"] for entry in entries] == ["qwen-max", "qwen-plus"]
    assert call_app(bailian, "问", app_id=scripted).json()["usage"]["models"] == usage


def test_inputs_of_a_node_are_json(bailian: BailianEmulator) -> None:
    app_id = add_workflow(
        bailian, Node("甲", "Plugin", inputs={"q": ["问"]}), Node("结束", "End", text="一")
    )

    node = parse_nodes(call_app(bailian, "问", app_id=app_id, has_thoughts=True).json())[0]

    assert json.loads(node["nodeInput"]) == {"q": ["问"]}


def test_variables_reach_the_nodes_with_their_types(bailian: BailianEmulator) -> None:
    received_params: list[Any] = []

    def record_params(turn: Turn) -> str:
        received_params.append(turn.biz_params)
        return "一"

    app_id = add_workflow(
        bailian,
        Node("甲", text=record_params),
        variables={"city": str, "days": int, "file": dict, "files": list},
    )
    file = {"url": "https://files.example/a.png", "type": "image"}
    biz_params = {"city": "杭州", "days": 3, "file": file, "files": [file, file]}

    call_app(bailian, {"prompt": "问", "biz_params": biz_params}, app_id=app_id)

    assert received_params == [biz_params]


def test_a_workflow_refuses_invalid_variables_and_modes(bailian: BailianEmulator) -> None:
    app_id = add_workflow(bailian, variables={"city": str})

    def send_params(biz_params: Any, **parameters: Any) -> tuple[int, str, str]:
        response = call_app(
            bailian, {"prompt": "问", "biz_params": biz_params}, app_id=app_id, **parameters
        )
        return response.status_code, response.json()["code"], response.json()["message"]

    no_user = "The input messages do not contain elements with the role of user."
    assert send_params({"user_prompt_params": {"city": "杭州"}}) == (400, "InvalidParameter", no_user)
    for biz_params in ({}, {"city": 1}, None):
        status, code, message = send_params(biz_params)
        assert (status, code) == (400, "InvalidParameter")
        assert "city" in message
    status, code, message = send_params({"city": "杭州"}, flow_stream_mode="fast")
    assert (status, code) == (400, "InvalidParameter")
    assert "message_format_plus" in message


def add_history_workflow(bailian: BailianEmulator, **fields: Any) -> str:
    return add_workflow(bailian, Node("甲", text="${sys.query}<${historyList}>"), **fields)


def test_a_dialog_workflow_remembers_its_session(bailian: BailianEmulator) -> None:
    app_id = add_history_workflow(bailian)

    first = get_output(call_app(bailian, "一", app_id=app_id))
    input_fields = {"prompt": "二", "session_id": first["session_id"]}
    second = get_output(call_app(bailian, input_fields, app_id=app_id))

    assert first["text"] == "一<[]>"
    assert second["session_id"] == first["session_id"]
    assert '"content": "一"' in second["text"]
    assert [r.prompt for r in bailian.session(first["session_id"])] == ["一", "二"]


def test_a_dialog_workflow_accepts_messages(bailian: BailianEmulator) -> None:
    app_id = add_history_workflow(bailian)
    pairs = [("system", "礼貌"), ("user", "一"), ("assistant", "二"), ("user", "三")]
    messages = [{"role": role, "content": content} for role, content in pairs]

    text = get_output(call_app(bailian, {"messages": messages}, app_id=app_id))["text"]

    assert text == f"三<{json.dumps(messages[:3], ensure_ascii=False)}>"


def test_a_task_workflow_remembers_nothing(bailian: BailianEmulator) -> None:
    app_id = add_history_workflow(bailian, dialog=False)

    first = get_output(call_app(bailian, "一", app_id=app_id))
    input_fields = {"prompt": "二", "session_id": first["session_id"]}
    second = get_output(call_app(bailian, input_fields, app_id=app_id))

    assert second["text"] == "二<[]>"
    assert len(second["session_id"]) == 32
    assert bailian.sessions() == {}


def test_faults_and_errors_also_apply_to_workflows(bailian: BailianEmulator) -> None:
    app_id = add_two_model_workflow(bailian)
    app = bailian.apps[app_id]
    call_args: dict[str, Any] = {
        "app_id": app_id,
        "sse": True,
        "flow_stream_mode": "message_format_plus",
    }
    app.error = ErrorReply.of("InternalError.Algo", in_stream_after=3)
    with_error = call_app(bailian, "问", **call_args)
    app.error = None
    app.faults = Faults.always("no-finish-reason")
    with_fault = call_app(bailian, "问", **call_args)

    assert "event:error\n:HTTP_STATUS/500" in with_error.text
    assert "InternalError.Algo" in with_error.text
    assert '"finish_reason":"stop"' not in with_fault.text
    assert bailian.requests[-1].frames_sent > 10


def test_an_aborted_workflow_saves_the_text_of_its_end_node(bailian: BailianEmulator) -> None:
    bailian.keep_aborted = True
    app_id = add_workflow(bailian, Node("甲", text="一"), Node("结束", "End", text=FIRST))
    bailian.apps[app_id].error = ErrorReply.of("SystemError", in_stream_after=3)

    call_app(bailian, "问", app_id=app_id, sse=True, flow_stream_mode="message_format")

    ((saved_round,),) = bailian.sessions().values()
    assert saved_round.answer != ""
    assert FIRST.startswith(saved_round.answer)
    assert saved_round.answer != FIRST


def test_long_term_memory_works_in_a_workflow(bailian: BailianEmulator) -> None:
    app_id = add_workflow(bailian, long_term_memory=True)

    call_app(bailian, {"prompt": "我叫小明", "memory_id": "m"}, app_id=app_id)

    assert (
        "小明"
        in get_output(call_app(bailian, {"prompt": "你好", "memory_id": "m"}, app_id=app_id))["text"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("sse", [True, False])
def test_reasoning_delays_the_answer(bailian: BailianEmulator, sse: bool) -> None:
    scripted_node = add_workflow(
        bailian, Node("甲", text="答", reasoning="想" * 200), Node("结束", "End"), pace=0.002
    )
    scripted_app = bailian.add_app(
        App(
            "slow",
            kind="workflow",
            thinking="on",
            answer=lambda _: Reply("答", reasoning="想" * 200),
            pace=0.002,
        )
    )

    for app_id in (scripted_node, scripted_app):
        call_args: dict[str, Any] = {
            "app_id": app_id,
            "flow_stream_mode": "message_format_plus",
            "sse": sse,
        }
        response = call_app(bailian, "问", **call_args)
        assert response.elapsed.total_seconds() > 0.1
        last = parse_frames(response)[-1] if sse else response.json()
        assert last["output"]["text"] == "答"
        assert last["usage"]["models"][0]["output_tokens"] == 201


@pytest.mark.parametrize("mode", MODES)
def test_the_sample_workflow_plans_a_trip(bailian: BailianEmulator, mode: str) -> None:
    input_fields = {"prompt": "去玩", "biz_params": {"city": "杭州"}}

    frames = stream_frames(bailian, WORKFLOW_APP_ID, mode, input_fields, has_thoughts=True)

    text = frames[-1]["output"]["text"]
    assert "去杭州玩三天" in text
    assert "模拟器" in text
    assert len(frames[-1]["usage"]["models"]) == 2
    assert text == get_output(call_app(bailian, input_fields, app_id=WORKFLOW_APP_ID))["text"]


@pytest.mark.parametrize("mode", MODES)
def test_the_official_sdk_of_the_first_generation_reads_all_modes(
    bailian: BailianEmulator, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # The return type of the SDK depends on `stream`, which its annotations do not express.
    call: Any = dashscope.Application.call

    responses = list(
        call(
            app_id=WORKFLOW_APP_ID,
            prompt="去玩",
            biz_params={"city": "杭州"},
            api_key=bailian.api_key,
            base_address=bailian.base_url,
            stream=True,
            incremental_output=True,
            has_thoughts=True,
            flow_stream_mode=mode,
        )
    )
    dashscope.close_shared_sync_session()

    assert {response.status_code for response in responses} == {200}
    assert "去杭州玩三天" in responses[-1].output.text
    if mode.startswith("message"):
        message = responses[0].output.workflow_message
        assert message["node_type"] == ("Start" if mode.endswith("plus") else "End")


def test_the_second_generation_sdk_reads_completed_as_text(bailian: BailianEmulator) -> None:
    bailian.apps[WORKFLOW_APP_ID].completed_as_text = True
    with dashscope.Client(api_key=bailian.api_key, base_url=bailian.base_url, max_retries=0) as client:
        completions: Any = client.apps.completions
        events = list(
            completions.create(
                app_id=WORKFLOW_APP_ID,
                prompt="去玩",
                biz_params={"city": "杭州"},
                stream=True,
                parameters={"flow_stream_mode": "message_format"},
            )
        )

    assert events[-2].workflow_message.node_is_completed == "true"
    assert "去杭州玩三天" in events[-1].text
