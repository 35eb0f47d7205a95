"""What all ways of telling a workflow share: a frame, its usage, and the JSON of a result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._completion.workflow_run import NodeOutput, NodeRun
from langchain_bailian_app.emulator._http.encoding import compact_json
from langchain_bailian_app.emulator.text import TokenCounter


class WorkflowFrame(NamedTuple):
    """What a frame has of its own, and the part of the reply's text that it carries."""

    output: Mapping[str, Any]
    usage: dict[str, Any]
    text: str = ""


@dataclass
class _NodeUsage:
    """What the model of a node has used so far."""

    run: NodeRun
    token_counter: TokenCounter

    def build_entries(self) -> list[Mapping[str, Any]]:
        if self.run.reply.usage is not None:
            return list(self.run.reply.usage)
        return [
            {
                "input_tokens": self.run.input_tokens,
                "output_tokens": self.token_counter.tokens,
                "model_id": self.run.model_id,
            }
        ]


class ModelUsage:
    """`usage` of a workflow: an entry for each LLM node, once it has spoken; `{}` before that."""

    def __init__(self) -> None:
        self._usage_by_node: dict[str, _NodeUsage] = {}

    def add(self, run: NodeRun, output: NodeOutput) -> None:
        """Count what a node has said; only models cost anything."""
        if run.node.is_model and (output.result or output.reasoning):
            node_usage = self._usage_by_node.setdefault(run.node_id, _NodeUsage(run, TokenCounter()))
            node_usage.token_counter.add(output.reasoning + output.result)

    def snapshot(self) -> dict[str, Any]:
        """The usage so far."""
        models = [
            entry for node_usage in self._usage_by_node.values() for entry in node_usage.build_entries()
        ]
        return {"models": models} if models else {}


def encode_node_result(output: NodeOutput, *, include_reasoning: bool) -> str:
    """The result of a node, with `reasoningContent` beside it if it thinks."""
    return compact_json(
        {
            "result": output.result,
            **({"reasoningContent": output.reasoning} if include_reasoning else {}),
        }
    )
