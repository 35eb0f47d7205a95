"""LangChain integration for applications of Bailian (百炼, Alibaba Cloud Model Studio)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._version import __version__
from langchain_bailian_app.chat_models import BailianAppChatModel
from langchain_bailian_app.options import BizParams, RagOptions, workflow_file
from langchain_bailian_app.retrievers import BailianRetriever
from langchain_bailian_app.sessions import (
    BailianSessionWarning,
    InMemorySessionStore,
    SessionStore,
)
from langchain_bailian_app.tools import BailianAppTool

if TYPE_CHECKING:
    from langchain_bailian_app import errors as errors

__all__ = [
    "BailianAppChatModel",
    "BailianAppTool",
    "BailianRetriever",
    "BailianSessionWarning",
    "BizParams",
    "InMemorySessionStore",
    "RagOptions",
    "SessionStore",
    "__version__",
    "workflow_file",
]


def __getattr__(name: str) -> Any:
    if name == "errors":  # imports dashscope, which nothing else does before the first call
        return import_module("langchain_bailian_app.errors")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
