"""LangChain integration for applications of Bailian (百炼, Alibaba Cloud Model Studio)."""

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
