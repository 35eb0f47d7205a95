"""Calls of multi-agent graphs, and the answers that call their tools."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import HumanMessage

CALL_STYLES = ["invoke", "ainvoke", "stream", "astream"]


def call_text(name: str, arguments: str = "{}") -> str:
    """Return the text with which an application calls a tool."""
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


async def run_graph(
    graph: Any, call_style: str, *questions: str, config: dict[str, Any]
) -> dict[str, Any]:
    """Run the graph in a call style and return its last state."""
    question = {"messages": [HumanMessage(text) for text in questions]}
    match call_style:
        case "invoke":
            return graph.invoke(question, config)
        case "ainvoke":
            return await graph.ainvoke(question, config)
        case "stream":
            return list(graph.stream(question, config, stream_mode="values"))[-1]
    return [state async for state in graph.astream(question, config, stream_mode="values")][-1]
