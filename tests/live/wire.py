"""How frames and errors come, and what fields do."""

from __future__ import annotations

import itertools
from typing import Any

from langchain_bailian_app import BailianRetriever, RagOptions
from langchain_bailian_app.errors import BailianError
from tests.live.harness import CannotAsk, Lab, Outcome, Questions, Reply

QUESTIONS = Questions()
_QUESTION = "什么是滞报金？"
_MOST_PIPELINES = 5
_DATA_URL = "data:text/plain;base64,5pqX5Y+35piv6JOd6bK444CC"  # 暗号是蓝鲸。


@QUESTIONS.about("Do `thoughts` come unasked?", assumed="they may; they are passed on")
def unasked_thoughts(lab: Lab) -> Outcome:
    reply = _fine(lab.post({"prompt": _QUESTION}))
    return Outcome("they do" if reply.outputs("thoughts") else "they do not")


@QUESTIONS.about(
    "Do later frames of an incremental stream repeat the steps?", assumed="either; each is told once"
)
def repeated_steps(lab: Lab) -> Outcome:
    reply = _fine(lab.post({"prompt": _QUESTION}, {"has_thoughts": True}))
    thoughts = reply.outputs("thoughts")
    steps = [[t for t in entries if t.get("action_type") != "reasoning"] for entries in thoughts]
    count = sum(map(bool, steps))
    if not count:
        raise CannotAsk("this application tells no steps")  # noqa: EM101, TRY003
    return Outcome(f"{count} of {len(reply.frames)} frames have steps", as_assumed=True)


@QUESTIONS.about(
    "Without `incremental_output`: is the text whole on each frame, and the reasoning?",
    assumed="increments are always asked for; a text that grows as a whole is noticed",
)
def without_increments(lab: Lab) -> Outcome:
    asked = {"incremental_output": False, "has_thoughts": True, "enable_thinking": True}
    reply = _fine(lab.post({"prompt": _QUESTION}, asked))
    found = [f"text {_growth(reply.outputs('text'))}"]
    reasoning = [
        "".join(t.get("thought") or "" for t in entries if t.get("action_type") == "reasoning")
        for entries in reply.outputs("thoughts")
    ]
    found.append(f"reasoning {_growth([text for text in reasoning if text])}")
    return Outcome(", ".join(found))


@QUESTIONS.about(
    "How does a stream end that reaches `max_tokens`, and has the field an effect at all?",
    assumed="with any finish reason; one that ends without is an error unless `accept_missing_stop`",
)
def missing_stop(lab: Lab) -> Outcome:
    reply = _fine(lab.post({"prompt": "请写一篇两百字的短文。"}, {"max_tokens": 8}))
    reasons = [r for r in reply.outputs("finish_reason") if r != "null"]
    ending = f"finish_reason {reasons[-1]!r}" if reasons else "no finish reason"
    return Outcome(f"{ending} after {len(reply.text)} characters", as_assumed=bool(reasons))


@QUESTIONS.about(
    "How is a stream of an application that does not exist refused?",
    assumed="403 `App.AccessDenied` as HTTP status; an error in the stream is read too",
)
def refused_stream(lab: Lab) -> Outcome:
    reply = lab.post({"prompt": "你好"}, app_id="0" * 32)
    kind = reply.headers.get("content-type", "no content type")
    expected = (reply.status, reply.code) == (403, "App.AccessDenied")
    return Outcome(f"HTTP {reply.status} `{reply.code}`, {kind}", as_assumed=expected)


@QUESTIONS.about("Is U+2028 escaped in frames? Are there comments?", assumed="either; both are read")
def line_separator(lab: Lab) -> Outcome:
    reply = _fine(lab.post({"prompt": "请原样重复引号里的文字：“甲\u2028乙”"}))
    raw, escaped = "\u2028".encode() in reply.content, b"\\u2028" in reply.content
    if not (raw or escaped):
        raise CannotAsk("the application did not repeat the character")  # noqa: EM101, TRY003
    lines = reply.content.split(b"\n")
    others = [line for line in lines if line.startswith(b":") and b"HTTP_STATUS" not in line]
    return Outcome(f"{'raw' if raw else 'escaped'}; {len(others)} comment(s) besides the status")


@QUESTIONS.about("Which headers does a reply have?", assumed="`x-request-id`; none for idempotency")
def reply_headers(lab: Lab) -> Outcome:
    names = sorted(_fine(lab.post({"prompt": "你好"})).headers)
    return Outcome(", ".join(names), as_assumed="x-request-id" in names)


@QUESTIONS.about(
    "More than 5 `pipeline_ids`: refused?", assumed="no, the rest is ignored; here more is an error"
)
def too_many_pipelines(lab: Lab) -> Outcome:
    ids = [f"pipeline{number}" for number in range(_MOST_PIPELINES + 1)]
    reply = lab.post({"prompt": "你好"}, {"rag_options": {"pipeline_ids": ids}})
    return _taken(reply, assumed=True)


@QUESTIONS.about("More than 5 `file_ids`: refused?", assumed="no, 100 may be given")
def too_many_files(lab: Lab) -> Outcome:
    pipeline_id = lab.setting("PIPELINE_ID", "id of a knowledge base (知识库)")
    options = {"pipeline_ids": [pipeline_id], "file_ids": [f"file_{n}" for n in range(6)]}
    return _taken(lab.post({"prompt": _QUESTION}, {"rag_options": options}), assumed=True)


@QUESTIONS.about("Is a data URL in `file_list` read?", assumed="it is sent; unverified")
def data_url_of_a_file(lab: Lab) -> Outcome:
    reply = lab.post({"prompt": "文件里的暗号是什么？", "file_list": [_DATA_URL]})
    if reply.code:
        return _taken(reply, assumed=True)
    return Outcome("it is read" if "蓝鲸" in reply.text else "accepted, and not read")


@QUESTIONS.about("Is an MCP server that does not exist refused?", assumed="unknown: it is sent")
def mcp_servers(lab: Lab) -> Outcome:
    return _taken(lab.post({"prompt": "你好"}, {"mcp_servers": ["no-such-server"]}))


@QUESTIONS.about("Is an odd `cip_service_codes` refused?", assumed="unknown: `extra_parameters` has it")
def cip_service_codes(lab: Lab) -> Outcome:
    codes = {"text": {"input": "no-such-code", "output": "no-such-code"}}
    return _taken(lab.post({"prompt": "你好"}, {"cip_service_codes": codes}))


@QUESTIONS.about(
    "Does Agent 2.0 take `messages`?", assumed='no: with `agent_version="2.0"` it gets one prompt'
)
def messages_of_agent_2(lab: Lab) -> Outcome:
    app_id = lab.setting("AGENT2_APP_ID", "id of an application of the kind Agent 2.0")
    name = lab.name()
    told = [{"role": "user", "content": f"我叫{name}。"}, {"role": "assistant", "content": "你好。"}]
    asked = {"role": "user", "content": "我叫什么名字？"}
    reply = lab.post({"prompt": "我叫什么名字？", "messages": [*told, asked]}, app_id=app_id)
    if reply.code:
        return _taken(reply)
    return Outcome("they are read" if name in reply.text else "they are ignored")


@QUESTIONS.about(
    "Does Agent 2.0 refuse `rag_options` and `memory_id`?", assumed="no; it may ignore them"
)
def knowledge_of_agent_2(lab: Lab) -> Outcome:
    app_id = lab.setting("AGENT2_APP_ID", "id of an application of the kind Agent 2.0")
    asked = {"rag_options": {"tags": ["无"]}, "has_thoughts": True}
    reply = lab.post({"prompt": _QUESTION, "memory_id": "0" * 32}, asked, app_id=app_id)
    found = "; it names sources" if reply.outputs("doc_references") else "; it names no sources"
    outcome = _taken(reply, assumed=True)
    return Outcome(f"{outcome.told}{'' if reply.code else found}", outcome.as_assumed)


@QUESTIONS.about("Must any or all of several `tags` match?", assumed="unknown; the emulator says any")
def several_tags(lab: Lab) -> Outcome:
    pipeline_id = lab.setting("PIPELINE_ID", "id of a knowledge base (知识库)")
    tags = lab.setting("TAGS", "two tags of its documents, like `a,b`, of which no document has both")
    found = []
    for asked in (*([tag] for tag in tags.split(",")), tags.split(",")):
        options = RagOptions(pipeline_ids=[pipeline_id], tags=asked)
        documents = BailianRetriever(model=lab.model(), rag_options=options).invoke(_QUESTION)
        found.append({document.id for document in documents})
    one, other, both = found
    if not one or not other or one & other:
        raise CannotAsk("the two tags do not tell documents apart for this question")  # noqa: EM101, TRY003
    return Outcome("any" if both else "all")


@QUESTIONS.about("Does direct search work with this key?", assumed="yes, by the official integrations")
def direct_search(lab: Lab) -> Outcome:
    pipeline_id = lab.setting("PIPELINE_ID", "id of a knowledge base (知识库)")
    try:
        documents = BailianRetriever(pipeline_id=pipeline_id).invoke(_QUESTION)
    except BailianError as error:
        return Outcome(f"refused: {error.status_code} {error.code}", as_assumed=False)
    keys = sorted({key for document in documents for key in document.metadata})
    return Outcome(f"{len(documents)} documents with {', '.join(keys)}", as_assumed=True)


@QUESTIONS.about(
    "Does the service stop generating when the connection closes?",
    assumed="unknown: the retriever hangs up all the same",
)
def early_close(lab: Lab) -> Outcome:
    stream = lab.model().stream("请写一篇五百字的短文。")
    first = next(chunk for chunk in stream if chunk.text)
    stream.close()  # type: ignore[attr-defined]  # a generator
    message = (
        "no reply tells it: see in the console what was billed for an essay of 500 characters that was "
        f"left after {first.text!r}"
    )
    raise CannotAsk(message)


@QUESTIONS.about(
    "Do 429 and 503 mean that nothing ran?", assumed="yes: they are sent again, if a throttling code"
)
def refused_at_the_door(lab: Lab) -> Outcome:
    raise CannotAsk("it cannot be provoked without flooding the service")  # noqa: EM101, TRY003


@QUESTIONS.about("Does the workspace's own gateway serve applications?", assumed="unknown")
def workspace_gateway(lab: Lab) -> Outcome:
    workspace = lab.setting("WORKSPACE", "id of the workspace, which is part of the host")
    try:
        lab.model(gateway="workspace", workspace=workspace).invoke("你好")
    except BailianError as error:
        return Outcome(f"no: {error.status_code} {error.code or type(error).__name__}")
    return Outcome("yes")


def _fine(reply: Reply) -> Reply:
    if reply.code:
        message = f"refused: HTTP {reply.status} `{reply.code}`"
        raise CannotAsk(message)
    return reply


def _taken(reply: Reply, *, assumed: bool | None = None) -> Outcome:
    """Say whether a request was refused; `assumed` is what the package makes of it if not."""
    if reply.code:
        told = f"refused: HTTP {reply.status} `{reply.code}`"
        return Outcome(told, as_assumed=None if assumed is None else not assumed)
    return Outcome("accepted", as_assumed=assumed)


def _growth(texts: list[Any]) -> str:
    """Say whether each text begins with the one before."""
    if len(texts) <= 1:
        return "did not come in pieces"
    grows = all(b.startswith(a) for a, b in itertools.pairwise(texts))
    return "is whole on each frame" if grows else "comes in increments"
