"""Benchmark of startup costs: prints one line of JSON, for an import or for a thousand models."""

from __future__ import annotations

import json
import sys
import time
import tracemalloc

MODELS = 1000


def measure_import(*, with_package: bool) -> dict[str, float]:
    """Import LangChain's chat model and retriever, then this package if requested; return the cost."""
    import langchain_core.language_models.chat_models
    import langchain_core.retrievers

    del langchain_core
    if with_package:
        from langchain_bailian_app import BailianAppChatModel, BailianRetriever

        del BailianAppChatModel, BailianRetriever
    return {"cpu_ms": time.process_time() * 1000, "dashscope": "dashscope" in sys.modules}


def measure_models() -> dict[str, float]:
    """Create models and return the CPU time and memory per model."""
    from langchain_bailian_app import BailianAppChatModel

    def create_model() -> BailianAppChatModel:
        return BailianAppChatModel(app_id="app", api_key="k")

    create_model()
    before = time.process_time()
    created_models = [create_model() for _ in range(MODELS)]
    cpu_seconds = time.process_time() - before
    tracemalloc.start()
    created_models = [create_model() for _ in range(MODELS)]
    size = tracemalloc.get_traced_memory()[0]
    return {"model_us": cpu_seconds / MODELS * 1e6, "model_bytes": size / len(created_models)}


if __name__ == "__main__":
    metrics = (
        measure_models()
        if sys.argv[1] == "models"
        else measure_import(with_package=sys.argv[1] == "ours")
    )
    print(json.dumps(metrics))
