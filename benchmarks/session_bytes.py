"""Benchmark of the bytes sent per turn with `history="session"`, compared with `"messages"`.

Both modes have the same conversation of 50 turns with the local emulator. Only request bodies are
counted, since the headers are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from langchain_core.messages import HumanMessage

from langchain_bailian_app import BailianAppChatModel, InMemorySessionStore
from langchain_bailian_app.emulator import BailianEmulator

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

TERMS = ("滞报金", "保税", "原产地证", "HS编码", "报关单", "完税价格", "加工贸易", "暂时进出境")
TURNS = 50
REPORTED_TURNS = (1, 2, 5, 10, 20, 30, 40, 50)


def measure_bytes_per_turn(
    bailian: BailianEmulator, history: Literal["messages", "session"]
) -> list[int]:
    """Run the conversation and return the size of each request body."""
    model = BailianAppChatModel(
        app_id=bailian.app_id,
        base_url=bailian.base_url,
        api_key=bailian.api_key,
        history=history,
        session_store=InMemorySessionStore(),
    )
    bailian.reset()
    messages: list[BaseMessage] = []
    for turn in range(TURNS):
        messages.append(HumanMessage(f"请问什么是{TERMS[turn % len(TERMS)]}？"))
        messages.append(model.invoke(messages))
    return [record.size for record in bailian.requests]


def format_table(messages: list[int], session: list[int]) -> str:
    """Return a Markdown table of the reported turns, and the ratio at the last turn."""
    lines = ['| turn | `"messages"` | `"session"` |', "|---:|---:|---:|"]
    lines += [f"| {turn} | {messages[turn - 1]:,} | {session[turn - 1]:,} |" for turn in REPORTED_TURNS]
    lines.append(f"| all {TURNS} | {sum(messages):,} | {sum(session):,} |")
    ratio = messages[-1] / session[-1]
    return "\n".join([*lines, "", f'At turn {TURNS} `"messages"` sends {ratio:.0f} times the bytes.'])


def measure() -> str:
    """Measure, and return the section of the report."""
    with BailianEmulator() as bailian:
        table = format_table(
            measure_bytes_per_turn(bailian, "messages"), measure_bytes_per_turn(bailian, "session")
        )
    return (
        "## Bytes sent per turn\n\n"
        f"Sizes of the request bodies in a conversation of {TURNS} turns with the emulator's default\n"
        f"application (`session_bytes.py`).\n\n{table}"
    )
