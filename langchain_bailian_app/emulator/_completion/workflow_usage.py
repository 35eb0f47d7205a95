"""Parts of a workflow's reply that all stream modes share: frames, usage, and results as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._completion.workflow_run import NodeOutput, NodeRun
from langchain_bailian_app.emulator._http.encoding import compact_json
from langchain_bailian_app.emulator.text import TokenCounter


class WorkflowFrame(NamedTuple):
    """Fields that differ between frames, and the text that the frame adds to the reply."""

    output: Mapping[str, Any]
    usage: dict[str, Any]
    text: str = ""


@dataclass
class _NodeUsage:
    """Token usage of a node's model."""

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
    """`usage` of a workflow: one entry for each LLM node with output, or `{}`."""

    def __init__(self) -> None:
        self._usage_by_node: dict[str, _NodeUsage] = {}

    def add(self, run: NodeRun, output: NodeOutput) -> None:
        """Count the output of a node; only LLM nodes use tokens."""
        if run.node.is_model and (output.result or output.reasoning):
            node_usage = self._usage_by_node.setdefault(run.node_id, _NodeUsage(run, TokenCounter()))
            node_usage.token_counter.add(output.reasoning + output.result)

    def snapshot(self) -> dict[str, Any]:
        """Return the current usage."""
        models = [
            entry for node_usage in self._usage_by_node.values() for entry in node_usage.build_entries()
        ]
        return {"models": models} if models else {}


def encode_node_result(output: NodeOutput, *, include_reasoning: bool) -> str:
    """Encode the result of a node, with `reasoningContent` if requested."""
    return compact_json(
        {
            "result": output.result,
            **({"reasoningContent": output.reasoning} if include_reasoning else {}),
        }
    )
