"""Chat model for Bailian applications."""

from langchain_bailian_app.chat_models._model import BailianAppChatModel

__all__ = ["BailianAppChatModel"]

BailianAppChatModel.__module__ = __name__
