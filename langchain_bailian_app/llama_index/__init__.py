"""Applications of Bailian (百炼) in LlamaIndex; needs the extra `llama-index`.

The LLM and the retriever are adapters for `BailianAppChatModel` and `BailianRetriever`.
"""

try:
    import llama_index.core  # noqa: F401
except ImportError as exc:
    _MISSING_PACKAGE = (
        "missing package llama-index-core: pip install 'langchain-bailian-app[llama-index]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

from langchain_bailian_app.llama_index._llm import BailianAppLLM
from langchain_bailian_app.llama_index._retriever import BailianAppRetriever

__all__ = ["BailianAppLLM", "BailianAppRetriever"]

for _public in (BailianAppLLM, BailianAppRetriever):
    _public.__module__ = __name__
