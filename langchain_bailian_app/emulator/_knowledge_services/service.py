"""Knowledge services as the emulator knows them, and the switches for what no source settles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from langchain_bailian_app.emulator._http.errors import ErrorReply
from langchain_bailian_app.emulator._knowledge.documents import compute_hex_digest
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase


@dataclass
class KnowledgeService:
    """A search or chat service that binds knowledge bases.

    Args:
        name: Name in the console.
        knowledge_bases: The knowledge bases that it searches.
        scene: What it does: `search` or `chat`.
        agent_id: Id of the service; derived from `name` if empty.
        top_n: Number of nodes that a search returns.
        published: Whether the service was published; otherwise, only its version `beta` answers.
        version: Number of the version that was published last.
        pre_parses_files: Whether a chat service accepts session files.
        error: Error that is returned instead of a result.
    """

    name: str
    knowledge_bases: Sequence[KnowledgeBase] = ()
    scene: Literal["search", "chat"] = "search"
    agent_id: str = ""
    top_n: int = 5
    published: bool = True
    version: int = 1
    pre_parses_files: bool = True
    error: ErrorReply | None = None

    def __post_init__(self) -> None:
        """Derive the id from the name if none is given."""
        if not self.agent_id:
            self.agent_id = f"aid-{compute_hex_digest(self.name)[:12]}"


@dataclass
class KnowledgeSwitches:
    """Behavior of the routes of knowledge services where sources are silent or disagree.

    Args:
        filter_keys: Keys that filters of documents may have: only `tags` and `meta`, or any field.
        error_status: HTTP status of a rejected request; the body always has `success: false`.
        error_shape: Whether an error is flat (`code`, `message`) or nested (`error.code`).
        unpublished_code: Code for a service that was never published.
        requests_per_10_seconds: Rate limit of searches and chats; None for no limit. The sources say
            10 or 250.
        rerank: Whether the index route applies the reranking fields, ignores them, or rejects them.
        citation_mark: Form of a citation in the text of a chat service.
        extra_json: Whether the hits of a tool are an object, or an object as JSON text.
        framing: Whether frames of a chat have an id, an event name and a status comment, or only data.
        done: Whether the stream of a chat ends with `[DONE]`.
        step_order: Whether a chat plans first, as documented, or calls its tool first, as recorded.
        accepts_tool_role: Whether the history may contain messages of the role `tool`.
        accepts_chat_filters: Whether a chat accepts `kb_search_configs`.
        no_stream_status: HTTP status of a chat that does not ask for a stream.
    """

    filter_keys: Literal["tags-meta", "all"] = "tags-meta"
    error_status: Literal[400, 200] = 400
    error_shape: Literal["flat", "nested"] = "flat"
    unpublished_code: str = "AgentApp.NotFound"
    requests_per_10_seconds: int | None = None
    rerank: Literal["honored", "ignored", "refused"] = "honored"
    citation_mark: Literal["ref", "bracket", "none"] = "ref"
    extra_json: Literal["object", "string"] = "object"
    framing: Literal["events", "plain"] = "events"
    done: bool = False
    step_order: Literal["plan-first", "tool-first"] = "plan-first"
    accepts_tool_role: bool = True
    accepts_chat_filters: bool = False
    no_stream_status: Literal[400, 500] = 400
    request_times: list[float] = field(default_factory=list, repr=False)
