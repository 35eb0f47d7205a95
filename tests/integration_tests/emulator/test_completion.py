"""Tests of the emulator's completion endpoint, with plain httpx."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from langchain_bailian_app.emulator import App, BailianEmulator, Reply

CITED_TEXT = "一<ref>[2]</ref>，二<ref>[1]</ref>。"


@pytest.fixture
def bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator() as emulator:
        yield emulator


def call_app(
    bailian: BailianEmulator,
    input_or_prompt: dict[str, Any] | str,
    *,
    app_id: str | None = None,
    sse: bool = False,
    headers: dict[str, str] | None = None,
    **parameters: Any,
) -> httpx.Response:
    """Send one request; a string is sent as the prompt."""
    body = {
        "input": {"prompt": input_or_prompt} if isinstance(input_or_prompt, str) else input_or_prompt,
        "parameters": parameters,
    }
    all_headers = {"Authorization": f"Bearer {bailian.api_key}"}
    if sse:
        all_headers["X-DashScope-SSE"] = "enable"
    url = f"{bailian.base_url}/apps/{app_id or bailian.app_id}/completion"
    # Without TLS contexts to load, a client is created quickly.
    with httpx.Client(trust_env=False, verify=False) as client:  # noqa: S501
        return client.post(url, json=body, headers=all_headers | (headers or {}))


def get_output(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    output: dict[str, Any] = response.json()["output"]
    return output


def parse_frames(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the JSON of each frame, after checking the framing."""
    *frames, tail = response.text.split("\n\n")
    assert tail == ""
    payloads = []
    for number, frame in enumerate(frames, start=1):
        head, data = frame.split("\ndata:")
        assert head == f"id:{number}\nevent:result\n:HTTP_STATUS/200"
        payloads.append(json.loads(data))
    return payloads


def test_a_full_reply_has_the_recorded_shape(bailian: BailianEmulator) -> None:
    response = call_app(bailian, "什么是滞报金？")

    body = response.json()
    assert set(body) == {"output", "usage", "request_id"}
    assert set(body["output"]) == {"doc_references", "session_id", "finish_reason", "text"}
    assert body["output"]["finish_reason"] == "stop"
    assert len(body["output"]["session_id"]) == 32
    assert "本地模拟器" in body["output"]["text"]
    (usage,) = body["usage"]["models"]
    assert usage["model_id"] == "qwen-plus"
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0
    headers = response.headers
    assert headers["x-request-id"] == body["request_id"]
    assert headers["content-type"] == "application/json"
    assert headers["content-encoding"] == "gzip"
    assert headers["x-dashscope-finished"] == "true"
    assert headers["x-dashscope-timeout"] == "180"
    assert headers["x-dashscope-call-gateway"] == "true"
    assert headers["server"] == "bailian-emulator"
    assert int(headers["resp-start-time"]) >= int(headers["req-arrive-time"])


def test_json_is_plain_for_a_client_without_gzip(bailian: BailianEmulator) -> None:
    response = call_app(bailian, "什么是保税？", headers={"Accept-Encoding": "identity"})

    assert "content-encoding" not in response.headers
    assert "保税" in response.content.decode()


@pytest.mark.parametrize("header", [{"X-DashScope-SSE": "enable"}, {"Accept": "text/event-stream"}])
def test_either_header_asks_for_a_stream(bailian: BailianEmulator, header: dict[str, str]) -> None:
    response = call_app(bailian, "什么是申报？", headers=header, incremental_output=True)

    frames = parse_frames(response)
    headers = response.headers
    assert headers["content-type"] == "text/event-stream;charset=UTF-8"
    assert headers["x-dashscope-finished"] == "false"
    assert len(frames) > 20
    assert {frame["request_id"] for frame in frames} == {headers["x-request-id"]}
    assert len({frame["output"]["session_id"] for frame in frames}) == 1
    reasons = [frame["output"]["finish_reason"] for frame in frames]
    assert reasons == ["null"] * (len(frames) - 1) + ["stop"]
    assert frames[-1]["output"]["text"] == ""
    tokens = [frame["usage"]["models"][0]["output_tokens"] for frame in frames]
    assert tokens == sorted(tokens)
    assert all(len(frame["output"]["text"]) <= 16 for frame in frames)


def test_a_stream_and_a_full_reply_have_the_same_content(bailian: BailianEmulator) -> None:
    full_reply = call_app(bailian, "什么是原产地证？").json()
    deltas = parse_frames(call_app(bailian, "什么是原产地证？", sse=True, incremental_output=True))
    cumulative = parse_frames(call_app(bailian, "什么是原产地证？", sse=True))

    text = full_reply["output"]["text"]
    assert "".join(frame["output"]["text"] for frame in deltas) == text
    texts = [frame["output"]["text"] for frame in cumulative]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    assert texts[-1] == texts[-2] == text
    assert deltas[-1]["usage"] == cumulative[-1]["usage"] == full_reply["usage"]
    assert deltas[-1]["output"]["doc_references"] == full_reply["output"]["doc_references"]


def test_markers_are_split_and_references_accumulate(bailian: BailianEmulator) -> None:
    hits = [{"index_id": "1"}, {"index_id": "2"}, {"index_id": "3"}]
    app_id = bailian.add_app(App("cites", answer=lambda _: Reply(CITED_TEXT, references=hits)))

    frames = parse_frames(call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=True))

    texts = [frame["output"]["text"] for frame in frames]
    assert any(text.endswith("</") for text in texts)
    assert any(text.endswith("<ref") for text in texts)
    assert not any("<ref>[" in text and "</ref>" in text for text in texts)
    cited = [
        [reference["index_id"] for reference in frame["output"].get("doc_references", [])]
        for frame in frames
    ]
    assert cited[0] == []
    assert "doc_references" not in frames[0]["output"]
    assert [c for n, c in enumerate(cited) if c and c != cited[n - 1]] == [["2"], ["1", "2"]]
    assert cited[-1] == ["1", "2"]


def test_thoughts_have_the_recorded_shapes(bailian: BailianEmulator) -> None:
    response = call_app(bailian, "报关单写什么？", has_thoughts=True, enable_thinking=True)

    retrieval, reasoning = get_output(response)["thoughts"]
    hits = json.loads(retrieval.pop("observation"))
    assert retrieval == {
        "action_input_stream": "{}",
        "action_type": "agentRag",
        "action_name": "知识检索",
        "action": "rag",
        "arguments": "{}",
    }
    assert sorted(hits[0]) == [
        *("content", "dataId", "dataName", "display", "id", "images"),
        *("referenceIndex", "score", "title", "webSearch"),
    ]
    assert [hit["referenceIndex"] for hit in hits] == list(range(1, len(hits) + 1))
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert 0 < scores[-1] <= scores[0] < 1
    assert hits[0]["content"].startswith("【文档名】:进出口申报术语\n【标题】:报关单")
    assert reasoning.pop("thought") == reasoning.pop("response") != ""
    assert reasoning == {
        "action_type": "reasoning",
        "action_name": "思考过程",
        "action": "reasoning",
    }


def test_reasoning_comes_first_and_leaves_empty_entries(bailian: BailianEmulator) -> None:
    parameters: dict[str, Any] = {"has_thoughts": True, "enable_thinking": True}
    frames = parse_frames(
        call_app(bailian, "什么是归类？", sse=True, incremental_output=True, **parameters)
    )

    first, *others = [frame["output"] for frame in frames]
    assert [thought["action"] for thought in first["thoughts"]] == ["rag"]
    assert all([t["action"] for t in frame["thoughts"]] == ["reasoning"] for frame in others)
    thinking = [frame for frame in others if frame["thoughts"][0]["thought"]]
    assert others[: len(thinking)] == thinking
    assert {frame["text"] for frame in [first, *thinking]} == {""}
    full_reasoning = get_output(call_app(bailian, "什么是归类？", **parameters))["thoughts"][1][
        "thought"
    ]
    assert "".join(frame["thoughts"][0]["thought"] for frame in thinking) == full_reasoning
    cumulative = parse_frames(call_app(bailian, "什么是归类？", sse=True, **parameters))
    assert cumulative[-1]["output"]["thoughts"][1]["thought"] == full_reasoning


def test_frames_are_empty_while_a_model_thinks_without_thoughts(bailian: BailianEmulator) -> None:
    """As captured, only the count of output tokens changes."""
    reply = Reply("好。", reasoning="先想一想，再想一想，然后回答。")
    app_id = bailian.add_app(App("thinks", thinking="on", answer=lambda _: reply))

    frames = parse_frames(call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=True))

    empty_frames = frames[: [bool(frame["output"]["text"]) for frame in frames].index(True)]
    assert len(empty_frames) > 2
    assert {frozenset(frame["output"]) for frame in frames} == {
        frozenset({"session_id", "finish_reason", "text"})
    }
    counts = [frame["usage"]["models"][0]["output_tokens"] for frame in empty_frames]
    assert counts == sorted(set(counts))


@pytest.mark.parametrize("pieces", [["茶", "馆", "。"], ["茶"], []])
@pytest.mark.parametrize("incremental", [True, False])
def test_the_last_frame_may_contain_text(
    bailian: BailianEmulator, pieces: list[str], incremental: bool
) -> None:
    reply = Reply("".join(pieces), pieces=pieces)
    app = App("last", answer=lambda _: reply)
    app_id = bailian.add_app(app)

    def read_texts() -> list[str]:
        response = call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=incremental)
        outputs = [frame["output"] for frame in parse_frames(response)]
        assert [o["finish_reason"] for o in outputs] == ["null"] * (len(outputs) - 1) + ["stop"]
        return [output["text"] for output in outputs]

    totals = ["".join(pieces[:n]) for n in range(1, len(pieces) + 1)]
    expected = pieces if incremental else totals
    assert read_texts() == [*expected, "" if incremental else reply.text]
    app.text_in_last_frame = True
    assert read_texts() == (expected or [""])


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("sse", [True, False])
@pytest.mark.parametrize("kind", ["agent", "workflow"])
def test_every_frame_may_have_a_reject_status(
    bailian: BailianEmulator, kind: Any, sse: bool, value: bool
) -> None:
    app_id = bailian.add_app(App("rejects", kind=kind, answer="茶", reject_status=value))

    response = call_app(bailian, "?", app_id=app_id, sse=sse)

    payloads = parse_frames(response) if sse else [response.json()]
    assert [payload["output"]["reject_status"] for payload in payloads] == [value] * len(payloads)


def test_a_picture_is_one_frame_after_two_empty_frames(bailian: BailianEmulator) -> None:
    picture = "![流程 图](https://pictures.example/a.png?Expires=1&Signature=c2ln%3D)"
    app_id = bailian.add_app(App("shows", answer=f"{picture}先看图{picture}{picture}再看。"))

    frames = parse_frames(call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=True))

    texts = [frame["output"]["text"] for frame in frames]
    assert "".join(texts) == f"{picture}先看图{picture}{picture}再看。"
    positions = [index for index, text in enumerate(texts) if text == picture]
    assert len(positions) == 3
    assert all(texts[index - 2 : index] == ["", ""] for index in positions)
    assert texts.count("") == 3 * 2 + 1


@pytest.mark.parametrize(
    ("thinking", "enable_thinking", "thinks"),
    [
        ("off", True, False),
        ("on", False, True),
        ("hybrid", True, True),
        ("hybrid", False, False),
        ("hybrid", None, False),
    ],
)
def test_thinking_follows_app_and_request(
    bailian: BailianEmulator, thinking: Any, enable_thinking: bool | None, thinks: bool
) -> None:
    app_id = bailian.add_app(App("thinks", thinking=thinking))
    parameters: dict[str, Any] = {} if enable_thinking is None else {"enable_thinking": enable_thinking}

    output = get_output(call_app(bailian, "?", app_id=app_id, has_thoughts=True, **parameters))

    assert ("thoughts" in output) == thinks
    assert "thoughts" not in get_output(call_app(bailian, "?", app_id=app_id, **parameters))


def test_thoughts_may_be_sent_without_being_requested(bailian: BailianEmulator) -> None:
    bailian.apps[bailian.app_id].always_thoughts = True

    assert get_output(call_app(bailian, "什么是查验？"))["thoughts"][0]["action"] == "rag"


def test_undocumented_behavior_can_be_switched_on(bailian: BailianEmulator) -> None:
    app = bailian.apps[bailian.app_id]
    app.repeat_steps = app.ignores_incremental = True
    options: dict[str, Any] = {"sse": True, "incremental_output": True, "has_thoughts": True}

    frames = parse_frames(call_app(bailian, "什么是放行？", **options))

    assert all(frame["output"]["thoughts"][0]["action"] == "rag" for frame in frames)
    assert frames[-1]["output"]["text"] == frames[-2]["output"]["text"] != ""


def test_references_need_the_console_switch(bailian: BailianEmulator) -> None:
    bailian.apps[bailian.app_id].show_references = False

    output = get_output(call_app(bailian, "什么是滞报金？"))

    assert "doc_references" not in output
    assert "<ref>" not in output["text"]


def test_a_scripted_reply_sets_everything(bailian: BailianEmulator) -> None:
    reply = Reply(
        "一二",
        pieces=["一", "二"],
        steps=[{"action": "plugin"}],
        finish_reason="length",
        usage=[{"model_id": "a", "input_tokens": 1, "output_tokens": 2}] * 2,
    )
    app_id = bailian.add_app(App("scripted", answer=lambda _: reply, always_thoughts=True))

    frames = parse_frames(call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=True))

    assert [frame["output"]["text"] for frame in frames] == ["", "一", "二", ""]
    assert frames[0]["output"]["thoughts"] == [{"action": "plugin"}]
    assert "thoughts" not in frames[1]["output"]
    assert frames[-1]["output"]["finish_reason"] == "length"
    assert len(frames[-1]["usage"]["models"]) == 2


@pytest.mark.parametrize("text", ["a\u2028b\u0085c", "data:\n\nid:1", "\ud800", "👩‍👩‍👧 ok", ""])
def test_any_text_survives_the_wire(bailian: BailianEmulator, text: str) -> None:
    app_id = bailian.add_app(App("any", answer=lambda _: text))

    frames = parse_frames(call_app(bailian, "?", app_id=app_id, sse=True, incremental_output=True))

    assert "".join(frame["output"]["text"] for frame in frames) == text
    assert get_output(call_app(bailian, "?", app_id=app_id))["text"] == text


def test_requests_are_recorded_without_secrets(bailian: BailianEmulator) -> None:
    tokens = {"tool": {"user_token": "very-secret"}}
    input_fields = {"prompt": "hi", "biz_params": {"user_defined_tokens": tokens, "x": 1}}

    call_app(bailian, input_fields, sse=True, headers={"X-Extra": "1"})

    (record,) = bailian.requests
    assert record.wait()
    assert record.finished
    assert record.closed_at is None
    assert record.method == "POST"
    assert record.path.endswith(f"/apps/{bailian.app_id}/completion")
    assert record.app_id == bailian.app_id
    assert record.headers["authorization"] == "[removed]"
    assert record.headers["x-extra"] == "1"
    biz_params = {"user_defined_tokens": {"tool": {"user_token": "[removed]"}}, "x": 1}
    assert record.body == {"input": {"prompt": "hi", "biz_params": biz_params}, "parameters": {}}
    assert record.size > 50
    assert record.status == 200
    assert record.frames_sent > 20
    assert "very-secret" not in repr(record)
    assert bailian.api_key not in repr(record)


@pytest.mark.parametrize("key", ["", "Bearer sk-wrong", "sk-emulator"])
def test_a_wrong_key_is_refused_without_a_content_type(bailian: BailianEmulator, key: str) -> None:
    response = call_app(bailian, "hi", headers={"Authorization": key})

    assert response.status_code == 401
    assert "content-type" not in response.headers
    assert response.json()["code"] == "InvalidApiKey"
    assert response.json()["request_id"]
    assert bailian.requests[0].status == 401


@pytest.mark.parametrize(
    ("input_fields", "parameters", "status", "code"),
    [
        ({}, {}, 400, "BadRequest.EmptyInput"),
        ({"prompt": ""}, {}, 400, "BadRequest.EmptyInput"),
        ({"prompt": 1}, {}, 400, "InvalidParameter"),
        ({"prompt": "x"}, {"incremental_output": True}, 400, "InvalidParameter"),
        ({"prompt": "x"}, {"has_thoughts": "yes"}, 400, "InvalidParameter"),
        ({"prompt": "x"}, {"dialog_round": True}, 400, "InvalidParameter"),
        ({"prompt": "x"}, {"rag_options": []}, 400, "InvalidParameter"),
        ({"prompt": "x", "image_list": "url"}, {}, 400, "InvalidParameter"),
        ({"prompt": "x", "file_list": [1]}, {}, 400, "InvalidParameter"),
        ({"messages": "x"}, {}, 400, "InvalidParameter"),
        ({"messages": [{"role": "tool", "content": "x"}]}, {}, 400, "InvalidParameter"),
        ({"messages": [{"role": "user", "content": ""}]}, {}, 400, "InvalidParameter"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, {}, 400, "InvalidParameter"),
        ({"messages": [{"role": "system", "content": "x"}]}, {}, 400, "InvalidParameter"),
        ({"prompt": "x"}, {"rag_options": {"session_file_ids": ["f"] * 11}}, 400, None),
    ],
)
def test_bad_requests_are_refused(
    bailian: BailianEmulator, input_fields: Any, parameters: Any, status: int, code: str | None
) -> None:
    response = call_app(bailian, input_fields, **parameters)

    assert response.status_code == status
    assert response.json()["code"] == code or code is None
    assert set(response.json()) == {"code", "message", "request_id"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_body_must_be_a_json_object(bailian: BailianEmulator, content: bytes) -> None:
    url = f"{bailian.base_url}/apps/{bailian.app_id}/completion"
    headers = {"Authorization": f"Bearer {bailian.api_key}"}
    response = httpx.post(url, content=content, headers=headers, trust_env=False)

    assert response.json()["code"] == "BadRequest.IllegalInput"
    assert bailian.requests[0].body == {}
    assert bailian.requests[0].size == len(content)


def test_incremental_output_without_a_stream_has_the_recorded_message(bailian: BailianEmulator) -> None:
    response = call_app(bailian, "x", incremental_output=True)

    assert response.json()["message"] == "incremental_output only support stream call"


def test_apps_of_another_workspace_and_unpublished_apps_are_refused(bailian: BailianEmulator) -> None:
    bailian.add_app(App("elsewhere", app_id="b" * 32, workspace="ws1"))
    bailian.add_app(App("draft", app_id="d" * 32, published=False))

    codes = [
        call_app(bailian, "x", app_id="0" * 32).json()["code"],
        call_app(bailian, "x", app_id="b" * 32).json()["code"],
        call_app(bailian, "x", app_id="d" * 32).json()["code"],
    ]
    assert codes == ["App.AccessDenied", "App.AccessDenied", "FlowNotPublished"]
    allowed = call_app(bailian, "x", app_id="b" * 32, headers={"X-DashScope-WorkSpace": "ws1"})
    assert allowed.status_code == 200


def test_other_paths_are_not_found_and_recorded(bailian: BailianEmulator) -> None:
    headers = {"Authorization": f"Bearer {bailian.api_key}"}
    response = httpx.get(f"{bailian.base_url}/nothing", headers=headers, trust_env=False)

    assert response.status_code == 404
    assert response.json()["code"] == "NotFound"
    assert bailian.requests[0].path == "/api/v1/nothing"
    assert bailian.requests[0].app_id is None
