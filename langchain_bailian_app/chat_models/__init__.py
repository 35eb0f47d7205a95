"""Chat models for Bailian applications and for knowledge chat services."""

from langchain_bailian_app.chat_models._knowledge_model import BailianKnowledgeChatModel
from langchain_bailian_app.chat_models._model import BailianAppChatModel

__all__ = ["BailianAppChatModel", "BailianKnowledgeChatModel"]

for _public in (BailianAppChatModel, BailianKnowledgeChatModel):
    _public.__module__ = __name__
