"""LLM and retriever for LlamaIndex; requires the `llama-index` extra.

They are adapters for `BailianAppChatModel` and `BailianRetriever`.
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as exc:
    _MISSING_PACKAGE = (
        "missing package llama-index-core, required for `langchain_bailian_app.llama_index`: "
        "pip install 'langchain-bailian-app[llama-index]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

from langchain_bailian_app.llama_index._llm import BailianAppLLM
from langchain_bailian_app.llama_index._retriever import BailianAppRetriever

__all__ = ["BailianAppLLM", "BailianAppRetriever"]

for _public in (BailianAppLLM, BailianAppRetriever):
    _public.__module__ = __name__
