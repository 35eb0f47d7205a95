"""A demo of the package in the terminal: `make demo`.

If DASHSCOPE_API_KEY and BAILIAN_APP_ID are set, the demo asks your application about TOPIC:
`make demo TOPIC=保税`. Set BIZ_PARAMS (JSON) if it is a workflow that needs variables. Otherwise, the
demo starts a local emulator, which answers from a small built-in knowledge base.
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

USE_COLORS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
REQUIRED_VARIABLES = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
CALL_COUNT = 7


def style(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if USE_COLORS else text


def print_heading(text: str, code: str) -> None:
    print(f"\n{style(f'━━ {text}', '1;36')}")
    print(style(f"   {code}", "2") + "\n")


def show_call(model: BailianAppChatModel, question: str) -> None:
    print_heading("1. A call", f"model.invoke({question!r})")
    print(model.invoke(question).text)


def show_stream(model: BailianAppChatModel, question: str) -> None:
    print_heading("2. A stream: reasoning, steps, text, sources", f"model.stream({question!r}, …)")
    options = {"has_thoughts": True, "enable_thinking": True, "citation_markers": "bracket"}
    printer = BlockPrinter()
    message = None
    for chunk in model.stream(question, **options):
        message = chunk if message is None else message + chunk
        for block in chunk.content_blocks:
            printer.show(block)
    printer.end()
    if message is not None:
        print_sources(message)


class BlockPrinter:
    """Printer of content blocks as they arrive, with a labeled line for each kind."""

    KINDS: ClassVar = {
        "reasoning": ("thinking", "35", "reasoning"),
        "server_tool_call": ("step", "33", "name"),
        "text": ("answer", "32", "text"),
    }

    def __init__(self) -> None:
        self.kind = ""

    def show(self, block: dict[str, Any]) -> None:
        kind = block["type"]
        label, color, key = self.KINDS.get(kind, ("", "", ""))
        if not block.get(key):
            return
        if kind != self.kind:
            self.end()
            self.kind = kind
            print(style(f"{label} ", f"1;{color}"), end="")
        print(block[key] if kind == "text" else style(block[key], color), end="", flush=True)

    def end(self) -> None:
        if self.kind:
            print()


def print_sources(message: AIMessage) -> None:
    text = message.text
    for block in message.content_blocks:
        for annotation in block.get("annotations", []):
            number = annotation["extras"]["reference_index"]
            cited_text = text[annotation["start_index"] : annotation["end_index"]]
            print(
                style(f"source [{number}] ", "1;34")
                + f"{annotation['title']}: {style(cited_text, '2')}"
            )


def show_chain(model: BailianAppChatModel, topic: str) -> None:
    print_heading("3. A chain", "prompt | model | StrOutputParser()")
    prompt = ChatPromptTemplate.from_messages(
        [("system", "回答要简短。"), ("human", "请用一句话解释：{topic}")]
    )
    print((prompt | model | StrOutputParser()).invoke({"topic": topic}))


def show_conversation(model: BailianAppChatModel, questions: list[str]) -> AIMessage:
    print_heading(
        "4. Three turns, history kept by the caller",
        "messages += [HumanMessage(…), model.invoke(messages)]",
    )
    messages: list[HumanMessage | AIMessage] = []
    answer = AIMessage("")
    for question in questions:
        messages.append(HumanMessage(question))
        answer = model.invoke(messages)
        messages.append(answer)
        print(style("you ", "1;34") + question)
        print(style("app ", "1;32") + answer.text)
    return answer


def show_documents(model: BailianAppChatModel, question: str) -> None:
    print_heading(
        "5. Documents, without the answer", f"BailianRetriever(model=model).invoke({question!r})"
    )
    documents = BailianRetriever(model=model, k=3).invoke(question)
    if not documents:
        print("none: the application has no knowledge base, or the search had no results")
    for document in documents:
        metadata = document.metadata
        score = f"{metadata['score']:.2f}" if "score" in metadata else "–"
        print(
            f"{style(score, '1;34')} {metadata.get('title')}: {style(document.page_content[:60], '2')}…"
        )


def show_usage(answer: AIMessage) -> None:
    print_heading("6. Usage of the last answer", "answer.usage_metadata, answer.response_metadata")
    print(answer.usage_metadata)
    names = ("model_name", "finish_reason", "session_id", "request_id")
    print({name: answer.response_metadata.get(name) for name in names})


def run_demo(model: BailianAppChatModel, *, topic: str, follow_ups: list[str]) -> None:
    question = f"什么是{topic}？"
    show_call(model, question)
    show_stream(model, question)
    show_chain(model, topic)
    answer = show_conversation(model, [question, *follow_ups])
    show_documents(model, question)
    show_usage(answer)


def run_on_application() -> None:
    target = os.environ.get("DASHSCOPE_BASE_URL") or "the real service"
    print(
        style(
            f"Calling application {os.environ['BAILIAN_APP_ID']} at {target} {CALL_COUNT} times.", "1"
        )
    )
    variables = json.loads(os.environ.get("BIZ_PARAMS") or "{}")
    run_demo(
        BailianAppChatModel(biz_params=BizParams(**variables) if variables else None),
        topic=os.environ.get("TOPIC") or "大模型应用",
        follow_ups=["能举一个例子吗？", "请把上面的内容总结成一句话。"],
    )


def run_on_emulator(missing: list[str]) -> None:
    from langchain_bailian_app.emulator import BailianEmulator  # noqa: PLC0415  # an extra

    with BailianEmulator(pace=0.03) as bailian:
        print(style("Using the local emulator: no model, no cost, sample data.", "1"))
        print(f"To use your own application, set {' and '.join(missing)} and run the demo again.")
        run_demo(
            BailianAppChatModel(
                app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
            ),
            topic="滞报金",
            follow_ups=["它按什么计收？", "它从哪天起征？"],
        )


def main() -> None:
    missing = [name for name in REQUIRED_VARIABLES if not os.environ.get(name)]
    if missing:
        run_on_emulator(missing)
    else:
        run_on_application()


if __name__ == "__main__":
    try:
        main()
    except (BailianError, ValueError) as error:
        sys.exit(f"\n{error}")
