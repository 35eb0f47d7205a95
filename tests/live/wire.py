"""Live checks of frames, errors and request fields."""

from __future__ import annotations

import itertools
from typing import Any

from langchain_bailian_app import BailianRetriever, RagOptions
from langchain_bailian_app.errors import BailianError
from tests.live.harness import CheckRegistry, CheckSkipped, LiveHarness, Outcome, RawResponse

CHECKS = CheckRegistry()
_QUESTION = "什么是滞报金？"
_MAX_PIPELINES = 5
_DATA_URL = "data:text/plain;base64,5pqX5Y+35piv6JOd6bK444CC"  # 暗号是蓝鲸。


@CHECKS.register("Are `thoughts` returned unrequested?", assumption="possibly; they are passed on")
def unrequested_thoughts(harness: LiveHarness) -> Outcome:
    response = _require_success(harness.post({"prompt": _QUESTION}))
    return Outcome("yes, they are" if response.output_values("thoughts") else "no, they are not")


@CHECKS.register(
    "Do later frames of an incremental stream repeat the steps?",
    assumption="either; each step is returned once",
)
def repeated_steps(harness: LiveHarness) -> Outcome:
    response = _require_success(harness.post({"prompt": _QUESTION}, {"has_thoughts": True}))
    thoughts = response.output_values("thoughts")
    steps = [[t for t in entries if t.get("action_type") != "reasoning"] for entries in thoughts]
    count = sum(map(bool, steps))
    if not count:
        raise CheckSkipped("this application reports no steps")  # noqa: EM101, TRY003
    return Outcome(f"{count} of {len(response.frames)} frames have steps", matches_assumption=True)


@CHECKS.register(
    "Without `incremental_output`: are text and reasoning cumulative?",
    assumption="increments are always requested; cumulative text is detected",
)
def cumulative_stream(harness: LiveHarness) -> Outcome:
    parameters = {"incremental_output": False, "has_thoughts": True, "enable_thinking": True}
    response = _require_success(harness.post({"prompt": _QUESTION}, parameters))
    observations = [f"text {_describe_growth(response.output_values('text'))}"]
    reasoning = [
        "".join(t.get("thought") or "" for t in entries if t.get("action_type") == "reasoning")
        for entries in response.output_values("thoughts")
    ]
    observations.append(f"reasoning {_describe_growth([text for text in reasoning if text])}")
    return Outcome(", ".join(observations))


@CHECKS.register(
    "How does a stream end at `max_tokens`, and does the field have an effect?",
    assumption="with any finish reason; without one it is an error unless `accept_missing_stop`",
)
def missing_stop(harness: LiveHarness) -> Outcome:
    response = _require_success(harness.post({"prompt": "请写一篇两百字的短文。"}, {"max_tokens": 8}))
    reasons = [r for r in response.output_values("finish_reason") if r != "null"]
    ending = f"finish_reason {reasons[-1]!r}" if reasons else "no finish reason"
    return Outcome(f"{ending} after {len(response.text)} characters", matches_assumption=bool(reasons))


@CHECKS.register(
    "How does the service refuse a stream of an application that does not exist?",
    assumption="HTTP 403 `App.AccessDenied`; an error within the stream is also handled",
)
def refused_stream(harness: LiveHarness) -> Outcome:
    response = harness.post({"prompt": "你好"}, app_id="0" * 32)
    content_type = response.headers.get("content-type", "no content type")
    is_as_expected = (response.status, response.error_code) == (403, "App.AccessDenied")
    return Outcome(
        f"HTTP {response.status} `{response.error_code}`, {content_type}",
        matches_assumption=is_as_expected,
    )


@CHECKS.register("Is U+2028 escaped in frames? Are there comments?", assumption="either; both work")
def line_separator(harness: LiveHarness) -> Outcome:
    response = _require_success(harness.post({"prompt": "请原样重复引号里的文字：“甲\u2028乙”"}))
    is_raw, is_escaped = "\u2028".encode() in response.content, b"\\u2028" in response.content
    if not (is_raw or is_escaped):
        raise CheckSkipped("the application did not repeat the character")  # noqa: EM101, TRY003
    lines = response.content.split(b"\n")
    comments = [line for line in lines if line.startswith(b":") and b"HTTP_STATUS" not in line]
    return Outcome(f"{'raw' if is_raw else 'escaped'}; {len(comments)} comment(s) besides the status")


@CHECKS.register(
    "Which headers does a response have?", assumption="`x-request-id`; none for idempotency"
)
def reply_headers(harness: LiveHarness) -> Outcome:
    names = sorted(_require_success(harness.post({"prompt": "你好"})).headers)
    return Outcome(", ".join(names), matches_assumption="x-request-id" in names)


@CHECKS.register(
    "Are more than 5 `pipeline_ids` refused?",
    assumption="no, the rest is ignored; this package refuses more",
)
def too_many_pipelines(harness: LiveHarness) -> Outcome:
    ids = [f"pipeline{number}" for number in range(_MAX_PIPELINES + 1)]
    response = harness.post({"prompt": "你好"}, {"rag_options": {"pipeline_ids": ids}})
    return _classify_response(response, assumes_acceptance=True)


@CHECKS.register("Are more than 5 `file_ids` refused?", assumption="no, up to 100 are allowed")
def too_many_files(harness: LiveHarness) -> Outcome:
    pipeline_id = harness.require_setting("PIPELINE_ID", "the id of a knowledge base (知识库)")
    options = {"pipeline_ids": [pipeline_id], "file_ids": [f"file_{n}" for n in range(6)]}
    return _classify_response(
        harness.post({"prompt": _QUESTION}, {"rag_options": options}), assumes_acceptance=True
    )


@CHECKS.register("Is a data URL in `file_list` read?", assumption="it is sent; unverified")
def file_data_url(harness: LiveHarness) -> Outcome:
    response = harness.post({"prompt": "文件里的暗号是什么？", "file_list": [_DATA_URL]})
    if response.error_code:
        return _classify_response(response, assumes_acceptance=True)
    return Outcome("it is read" if "蓝鲸" in response.text else "accepted, but not read")


@CHECKS.register("Is an MCP server that does not exist refused?", assumption="unknown: it is sent")
def mcp_servers(harness: LiveHarness) -> Outcome:
    return _classify_response(harness.post({"prompt": "你好"}, {"mcp_servers": ["no-such-server"]}))


@CHECKS.register(
    "Are unknown `cip_service_codes` refused?", assumption="unknown: sent with `extra_parameters`"
)
def cip_service_codes(harness: LiveHarness) -> Outcome:
    codes = {"text": {"input": "no-such-code", "output": "no-such-code"}}
    return _classify_response(harness.post({"prompt": "你好"}, {"cip_service_codes": codes}))


@CHECKS.register(
    "Does Agent 2.0 accept `messages`?",
    assumption='no: with `agent_version="2.0"` one prompt is sent',
)
def agent_2_messages(harness: LiveHarness) -> Outcome:
    app_id = harness.require_setting("AGENT2_APP_ID", "the id of an Agent 2.0 application")
    name = harness.next_name()
    history = [{"role": "user", "content": f"我叫{name}。"}, {"role": "assistant", "content": "你好。"}]
    question = {"role": "user", "content": "我叫什么名字？"}
    response = harness.post(
        {"prompt": "我叫什么名字？", "messages": [*history, question]}, app_id=app_id
    )
    if response.error_code:
        return _classify_response(response)
    return Outcome("they are read" if name in response.text else "they are ignored")


@CHECKS.register(
    "Does Agent 2.0 refuse `rag_options` and `memory_id`?", assumption="no; it may ignore them"
)
def agent_2_knowledge(harness: LiveHarness) -> Outcome:
    app_id = harness.require_setting("AGENT2_APP_ID", "the id of an Agent 2.0 application")
    parameters = {"rag_options": {"tags": ["无"]}, "has_thoughts": True}
    response = harness.post({"prompt": _QUESTION, "memory_id": "0" * 32}, parameters, app_id=app_id)
    sources_note = (
        "; it returns sources"
        if response.output_values("doc_references")
        else "; it returns no sources"
    )
    outcome = _classify_response(response, assumes_acceptance=True)
    return Outcome(
        f"{outcome.observation}{'' if response.error_code else sources_note}",
        outcome.matches_assumption,
    )


@CHECKS.register(
    "Must any or all of several `tags` match?", assumption="unknown; the emulator matches any"
)
def several_tags(harness: LiveHarness) -> Outcome:
    pipeline_id = harness.require_setting("PIPELINE_ID", "the id of a knowledge base (知识库)")
    tags = harness.require_setting(
        "TAGS", "two tags of its documents, like `a,b`; no document may have both"
    )
    ids_by_tags = []
    for selected_tags in (*([tag] for tag in tags.split(",")), tags.split(",")):
        options = RagOptions(pipeline_ids=[pipeline_id], tags=selected_tags)
        documents = BailianRetriever(model=harness.make_model(), rag_options=options).invoke(_QUESTION)
        ids_by_tags.append({document.id for document in documents})
    ids_of_first_tag, ids_of_second_tag, ids_of_both_tags = ids_by_tags
    if not ids_of_first_tag or not ids_of_second_tag or ids_of_first_tag & ids_of_second_tag:
        raise CheckSkipped("the two tags do not select different documents for this question")  # noqa: EM101, TRY003
    return Outcome("any" if ids_of_both_tags else "all")


@CHECKS.register(
    "Does direct search work with this key?", assumption="yes, as in the official integrations"
)
def direct_search(harness: LiveHarness) -> Outcome:
    pipeline_id = harness.require_setting("PIPELINE_ID", "the id of a knowledge base (知识库)")
    try:
        documents = BailianRetriever(pipeline_id=pipeline_id).invoke(_QUESTION)
    except BailianError as error:
        return Outcome(f"refused: {error.status_code} {error.code}", matches_assumption=False)
    keys = sorted({key for document in documents for key in document.metadata})
    return Outcome(f"{len(documents)} documents with {', '.join(keys)}", matches_assumption=True)


@CHECKS.register(
    "Does the service stop generating when the connection closes?",
    assumption="unknown: the retriever closes it in any case",
)
def early_close(harness: LiveHarness) -> Outcome:
    stream = harness.make_model().stream("请写一篇五百字的短文。")
    first_chunk = next(chunk for chunk in stream if chunk.text)
    stream.close()  # type: ignore[attr-defined]  # a generator
    message = (
        "no response shows this: check in the console how many tokens were billed for an essay of 500 "
        f"characters whose stream was closed after {first_chunk.text!r}"
    )
    raise CheckSkipped(message)


@CHECKS.register(
    "Do 429 and 503 mean that nothing ran?",
    assumption="yes: with a throttling code, the request is retried",
)
def rejected_before_running(harness: LiveHarness) -> Outcome:
    raise CheckSkipped("cannot be triggered without flooding the service")  # noqa: EM101, TRY003


def _require_success(response: RawResponse) -> RawResponse:
    if response.error_code:
        message = f"refused: HTTP {response.status} `{response.error_code}`"
        raise CheckSkipped(message)
    return response


def _classify_response(response: RawResponse, *, assumes_acceptance: bool | None = None) -> Outcome:
    """Return whether a request was accepted; the package assumes `assumes_acceptance`."""
    if response.error_code:
        observation = f"refused: HTTP {response.status} `{response.error_code}`"
        return Outcome(
            observation,
            matches_assumption=None if assumes_acceptance is None else not assumes_acceptance,
        )
    return Outcome("accepted", matches_assumption=assumes_acceptance)


def _describe_growth(texts: list[Any]) -> str:
    """Return a description of whether each text starts with the previous one."""
    if len(texts) <= 1:
        return "is not split over frames"
    is_cumulative = all(b.startswith(a) for a, b in itertools.pairwise(texts))
    return "is cumulative" if is_cumulative else "is incremental"
