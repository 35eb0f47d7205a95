"""What it costs to begin: one line of JSON about an import, or about a thousand models."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc

MODELS = 1000


def imported(*, ours: bool) -> dict[str, float]:
    """Import what LangChain has of a chat model and a retriever, and this package after it."""
    import langchain_core.language_models.chat_models
    import langchain_core.retrievers

    del langchain_core
    if ours:
        from langchain_bailian_app import BailianAppChatModel, BailianRetriever

        del BailianAppChatModel, BailianRetriever
    return {"cpu_ms": time.process_time() * 1000, "dashscope": "dashscope" in sys.modules}


def models() -> dict[str, float]:
    """Make models."""
    from langchain_bailian_app import BailianAppChatModel

    def make() -> BailianAppChatModel:
        return BailianAppChatModel(app_id="app", api_key="k")

    make()
    before = time.process_time()
    kept = [make() for _ in range(MODELS)]
    spent = time.process_time() - before
    tracemalloc.start()
    kept = [make() for _ in range(MODELS)]
    size = tracemalloc.get_traced_memory()[0]
    return {"us": spent / MODELS * 1e6, "bytes": size / len(kept)}


if __name__ == "__main__":
    found = models() if sys.argv[1] == "models" else imported(ours=sys.argv[1] == "ours")
    print(json.dumps(found))
