"""A tour of the package in the terminal: `make demo`.

With DASHSCOPE_API_KEY and BAILIAN_APP_ID set it asks your application about TOPIC, with the variables
in BIZ_PARAMS (JSON), which a workflow may need: `make demo TOPIC=保税`. Otherwise a local emulator,
started for the tour, answers from a small built-in knowledge base.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams
from langchain_bailian_app.errors import BailianError

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
NEEDED = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
CALLS = 7


def styled(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def heading(text: str, code: str) -> None:
    print(f"\n{styled(f'━━ {text}', '1;36')}")
    print(styled(f"   {code}", "2") + "\n")


def one_call(model: BailianAppChatModel, question: str) -> None:
    heading("1. A call", f"model.invoke({question!r})")
    print(model.invoke(question).text)


def a_stream(model: BailianAppChatModel, question: str) -> None:
    heading("2. A stream: thinking, steps, text, sources", f"model.stream({question!r}, …)")
    thinking = {"has_thoughts": True, "enable_thinking": True, "citation_markers": "bracket"}
    stage = Stage()
    whole = None
    for chunk in model.stream(question, **thinking):
        whole = chunk if whole is None else whole + chunk
        for block in chunk.content_blocks:
            stage.show(block)
    stage.end()
    if whole is not None:
        print_sources(whole)


class Stage:
    """Prints blocks as they arrive, each kind on a line with a label of its own."""

    KINDS: ClassVar = {
        "reasoning": ("thinking", "35", "reasoning"),
        "server_tool_call": ("step", "33", "name"),
        "text": ("answer", "32", "text"),
    }

    def __init__(self) -> None:
        self.kind = ""

    def show(self, block: dict[str, Any]) -> None:
        kind = block["type"]
        label, colour, key = self.KINDS.get(kind, ("", "", ""))
        if not block.get(key):
            return
        if kind != self.kind:
            self.end()
            self.kind = kind
            print(styled(f"{label} ", f"1;{colour}"), end="")
        print(block[key] if kind == "text" else styled(block[key], colour), end="", flush=True)

    def end(self) -> None:
        if self.kind:
            print()


def print_sources(message: AIMessage) -> None:
    text = message.text
    for block in message.content_blocks:
        for note in block.get("annotations", []):
            number = note["extras"]["reference_index"]
            cited = text[note["start_index"] : note["end_index"]]
            print(styled(f"source [{number}] ", "1;34") + f"{note['title']}: {styled(cited, '2')}")


def a_chain(model: BailianAppChatModel, topic: str) -> None:
    heading("3. A chain", "prompt | model | StrOutputParser()")
    prompt = ChatPromptTemplate.from_messages(
        [("system", "回答要简短。"), ("human", "请用一句话解释：{topic}")]
    )
    print((prompt | model | StrOutputParser()).invoke({"topic": topic}))


def a_conversation(model: BailianAppChatModel, questions: list[str]) -> AIMessage:
    heading("4. Three turns, kept by you", "messages += [HumanMessage(…), model.invoke(messages)]")
    messages: list[HumanMessage | AIMessage] = []
    answer = AIMessage("")
    for question in questions:
        messages.append(HumanMessage(question))
        answer = model.invoke(messages)
        messages.append(answer)
        print(styled("you ", "1;34") + question)
        print(styled("app ", "1;32") + answer.text)
    return answer


def the_documents(model: BailianAppChatModel, question: str) -> None:
    heading("5. Documents, without the answer", f"BailianRetriever(model=model).invoke({question!r})")
    documents = BailianRetriever(model=model, k=3).invoke(question)
    if not documents:
        print("none: it has no knowledge base, or found nothing there")
    for document in documents:
        about = document.metadata
        score = f"{about['score']:.2f}" if "score" in about else "–"
        print(
            f"{styled(score, '1;34')} {about.get('title')}: {styled(document.page_content[:60], '2')}…"
        )


def the_usage(answer: AIMessage) -> None:
    heading("6. What the last answer took", "answer.usage_metadata, answer.response_metadata")
    print(answer.usage_metadata)
    names = ("model_name", "finish_reason", "session_id", "request_id")
    print({name: answer.response_metadata.get(name) for name in names})


def tour(model: BailianAppChatModel, *, topic: str, follow_ups: list[str]) -> None:
    question = f"什么是{topic}？"
    one_call(model, question)
    a_stream(model, question)
    a_chain(model, topic)
    answer = a_conversation(model, [question, *follow_ups])
    the_documents(model, question)
    the_usage(answer)


def your_application() -> None:
    where = os.environ.get("DASHSCOPE_BASE_URL") or "the real service"
    print(styled(f"Asking application {os.environ['BAILIAN_APP_ID']} at {where}, {CALLS} times.", "1"))
    variables = json.loads(os.environ.get("BIZ_PARAMS") or "{}")
    tour(
        BailianAppChatModel(biz_params=BizParams(**variables) if variables else None),
        topic=os.environ.get("TOPIC") or "大模型应用",
        follow_ups=["能举一个例子吗？", "请把上面的内容总结成一句话。"],
    )


def the_emulator(missing: list[str]) -> None:
    from langchain_bailian_app.emulator import BailianEmulator  # noqa: PLC0415  # an extra

    with BailianEmulator(pace=0.03) as bailian:
        print(styled("Answered by the local emulator: no model, no cost, sample data.", "1"))
        print(f"For your own application set {' and '.join(missing)} and run this again.")
        tour(
            BailianAppChatModel(
                app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
            ),
            topic="滞报金",
            follow_ups=["它按什么计收？", "它从哪天起征？"],
        )


def main() -> None:
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        the_emulator(missing)
    else:
        your_application()


if __name__ == "__main__":
    try:
        main()
    except (BailianError, ValueError) as error:
        sys.exit(f"\n{error}")
