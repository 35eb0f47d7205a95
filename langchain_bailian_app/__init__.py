"""LangChain integration for applications of Bailian (百炼, Alibaba Cloud Model Studio)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_bailian_app._version import __version__
from langchain_bailian_app.chat_models import BailianAppChatModel, BailianKnowledgeChatModel
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
    from langchain_bailian_app.errors import (
        BailianAuthenticationError,
        BailianConnectionError,
        BailianContentFilterError,
        BailianContextOverflowError,
        BailianError,
        BailianFileError,
        BailianMemoryError,
        BailianNotFoundError,
        BailianPermissionError,
        BailianRateLimitError,
        BailianRequestError,
        BailianRunCancelledError,
        BailianServerError,
        BailianSessionError,
        BailianStreamError,
        BailianTimeoutError,
        BailianUploadError,
        ErrorResponse,
    )

__all__ = [
    "BailianAppChatModel",
    "BailianAppTool",
    "BailianAuthenticationError",
    "BailianConnectionError",
    "BailianContentFilterError",
    "BailianContextOverflowError",
    "BailianError",
    "BailianFileError",
    "BailianKnowledgeChatModel",
    "BailianMemoryError",
    "BailianNotFoundError",
    "BailianPermissionError",
    "BailianRateLimitError",
    "BailianRequestError",
    "BailianRetriever",
    "BailianRunCancelledError",
    "BailianServerError",
    "BailianSessionError",
    "BailianSessionWarning",
    "BailianStreamError",
    "BailianTimeoutError",
    "BailianUploadError",
    "BizParams",
    "ErrorResponse",
    "InMemorySessionStore",
    "RagOptions",
    "SessionStore",
    "__version__",
    "workflow_file",
]


def __getattr__(name: str) -> Any:
    # The errors derive from those of dashscope. Importing it takes longer than everything else.
    if name == "errors" or (name in __all__ and name not in globals()):
        errors = import_module("langchain_bailian_app.errors")
        return errors if name == "errors" else getattr(errors, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
