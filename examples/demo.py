"""A demo of the package in the terminal: `make demo`.

If DASHSCOPE_API_KEY and BAILIAN_APP_ID are set, the demo asks your application about TOPIC:
`make demo TOPIC=保税`. Set BIZ_PARAMS (JSON) if it is a workflow that needs variables. Otherwise, the
demo starts a local emulator, which answers from a small built-in knowledge base.

The questions are in Chinese if the locale is Chinese, and in English otherwise. Choose with
`make demo LANG=zh_CN.UTF-8` or `make demo LANG=en_US.UTF-8`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any, ClassVar

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_bailian_app import BailianAppChatModel, BailianRetriever, BizParams
from langchain_bailian_app.errors import BailianError

USE_COLORS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
REQUIRED_VARIABLES = ("DASHSCOPE_API_KEY", "BAILIAN_APP_ID")
CALL_COUNT = 7
CONSOLE = "https://bailian.console.aliyun.com"
LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set counts


@dataclass(frozen=True)
class Script:
    """Topics and questions of the demo in one language."""

    topic: str
    sample_topic: str
    question: str
    system: str
    request: str
    follow_ups: list[str]
    sample_follow_ups: list[str]


ENGLISH = Script(
    topic="an application built on a large language model",
    sample_topic="the late declaration fee",
    question="What is {topic}?",
    system="Answer briefly.",
    request="Explain in one sentence: {topic}",
    follow_ups=["Can you give an example?", "Please summarize that in one sentence."],
    sample_follow_ups=["When is it waived?", "And what is its start?"],
)
CHINESE = Script(
    topic="大模型应用",
    sample_topic="滞报金",
    question="什么是{topic}？",
    system="回答要简短。",
    request="请用一句话解释：{topic}",
    follow_ups=["能举一个例子吗？", "请把上面的内容总结成一句话。"],
    sample_follow_ups=["它从哪天起征？", "那么进口货物应当几日内申报？"],
)
NEXT_STEPS = f"""\
1. Publish an application in the console ({CONSOLE}) and copy its id.
2. Create an API key in the same region and workspace as the application.
3. export DASHSCOPE_API_KEY=… BAILIAN_APP_ID=…
   Outside Beijing, also set DASHSCOPE_REGION, for example ap-southeast-1.
4. python -m langchain_bailian_app doctor checks these settings with two questions.
5. Run `make demo` again; now it asks your application. Then open notebooks/quickstart.ipynb
   (pip install -e '.[notebooks]') and README.md."""


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


def show_chain(model: BailianAppChatModel, script: Script, topic: str) -> None:
    print_heading("3. A chain", "prompt | model | StrOutputParser()")
    prompt = ChatPromptTemplate.from_messages([("system", script.system), ("human", script.request)])
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


def run_demo(model: BailianAppChatModel, script: Script, *, topic: str, follow_ups: list[str]) -> None:
    question = script.question.format(topic=topic)
    show_call(model, question)
    show_stream(model, question)
    show_chain(model, script, topic)
    answer = show_conversation(model, [question, *follow_ups])
    show_documents(model, question)
    show_usage(answer)


def run_on_application(script: Script) -> None:
    target = os.environ.get("DASHSCOPE_BASE_URL") or "the real service"
    print(
        style(
            f"Calling application {os.environ['BAILIAN_APP_ID']} at {target} {CALL_COUNT} times.", "1"
        )
    )
    variables = json.loads(os.environ.get("BIZ_PARAMS") or "{}")
    run_demo(
        BailianAppChatModel(biz_params=BizParams(**variables) if variables else None),
        script,
        topic=os.environ.get("TOPIC") or script.topic,
        follow_ups=script.follow_ups,
    )


def run_on_emulator(script: Script, missing: list[str]) -> None:
    from langchain_bailian_app.emulator import BailianEmulator  # noqa: PLC0415  # an extra

    with BailianEmulator(pace=0.03) as bailian:
        print(style("Using the local emulator: no model, no cost, sample data.", "1"))
        print(f"To use your own application, set {' and '.join(missing)} and run the demo again.")
        run_demo(
            BailianAppChatModel(
                app_id=bailian.app_id, base_url=bailian.base_url, api_key=bailian.api_key
            ),
            script,
            topic=script.sample_topic,
            follow_ups=script.sample_follow_ups,
        )
    print_heading("Next: your own application", "BailianAppChatModel()")
    print(NEXT_STEPS)


def select_script() -> Script:
    """Return the questions in the language of the locale."""
    locale = next((os.environ[name] for name in LOCALE_VARIABLES if os.environ.get(name)), "")
    return CHINESE if locale.startswith("zh") else ENGLISH


def main() -> None:
    missing = [name for name in REQUIRED_VARIABLES if not os.environ.get(name)]
    if missing:
        run_on_emulator(select_script(), missing)
    else:
        run_on_application(select_script())


if __name__ == "__main__":
    try:
        main()
    except (BailianError, ValueError) as error:
        sys.exit(f"\n{error}")
