"""Builder of the chunks and the message of one call to a chat service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_bailian_app._answer.knowledge_answer import KnowledgeAnswerAssembler
from langchain_bailian_app._request.fields import CompletionFields
from langchain_bailian_app.chat_models._response_builder import ResponseBuilder

if TYPE_CHECKING:
    from langchain_bailian_app._request.knowledge_fields import KnowledgeChatFields


class KnowledgeResponseBuilder(ResponseBuilder):
    """Builder of the answer of a chat service; only the assembler of frames differs."""

    def __init__(self, agent_id: str, options: KnowledgeChatFields) -> None:
        self._knowledge_options = options
        fields = CompletionFields(
            citation_markers=options.citation_markers,
            stop=options.stop,
            accept_missing_stop=options.accept_missing_stop,
            app_model=agent_id,  # `model_name`, if the service names no model
        )
        super().__init__(None, fields)
        self.session_metadata = {"agent_id": agent_id}

    def _new_assembler(self, previous: Any = None) -> Any:  # noqa: ARG002  # there is one response
        options = self._knowledge_options
        return KnowledgeAnswerAssembler(markers=options.citation_markers, stop=options.stop)
