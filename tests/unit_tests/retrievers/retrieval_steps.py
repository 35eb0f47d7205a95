"""Factories of retrieval steps, in the form that the `thoughts` of an application have."""

from __future__ import annotations

import json
from typing import Any


def retrieval_step(*hits: dict[str, Any], **extra: Any) -> dict[str, Any]:
    observation = json.dumps(hits, ensure_ascii=False)
    return {"action_type": "agentRag", "action": "rag", "observation": observation} | extra


def hit(text: str, **extra: Any) -> dict[str, Any]:
    return {"content": text, "referenceIndex": 1, "id": f"ws_kb_file_{text}", "dataId": "file"} | extra
