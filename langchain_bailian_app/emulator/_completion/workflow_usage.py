"""What all ways of telling a workflow share: a frame, its usage, and the JSON of a result."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._completion.workflow_run import NodeRun, Said
from langchain_bailian_app.emulator.text import TokenCounter


class Frame(NamedTuple):
    """What a frame has of its own, and the part of the reply's text that it carries."""

    output: Mapping[str, Any]
    usage: dict[str, Any]
    said: str = ""


@dataclass
class _Spent:
    """What the model of a node has used so far."""

    run: NodeRun
    counter: TokenCounter

    def entries(self) -> list[Mapping[str, Any]]:
        if self.run.reply.usage is not None:
            return list(self.run.reply.usage)
        return [
            {
                "input_tokens": self.run.input_tokens,
                "output_tokens": self.counter.tokens,
                "model_id": self.run.model_id,
            }
        ]


class ModelUsage:
    """`usage` of a workflow: an entry for each LLM node, once it has spoken; `{}` before that."""

    def __init__(self) -> None:
        self._spent: dict[str, _Spent] = {}

    def add(self, run: NodeRun, said: Said) -> None:
        """Count what a node has said; only models cost anything."""
        if run.node.is_model and (said.result or said.reasoning):
            spent = self._spent.setdefault(run.node_id, _Spent(run, TokenCounter()))
            spent.counter.add(said.reasoning + said.result)

    def snapshot(self) -> dict[str, Any]:
        """The usage so far."""
        models = [entry for spent in self._spent.values() for entry in spent.entries()]
        return {"models": models} if models else {}


def compact(value: object) -> str:
    """JSON inside JSON is compact."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def result_json(said: Said, *, thinks: bool) -> str:
    """The result of a node, with `reasoningContent` beside it if it thinks."""
    return compact({"result": said.result, **({"reasoningContent": said.reasoning} if thinks else {})})
