"""Local emulator of Bailian applications, for first steps without an API key and for test suites.

It implements the wire protocol, listens on the loopback interface and contains no model. It requires
the `emulator` extra. It shares no code with the client in this distribution, so that each can check the
other.
"""

try:
    from langchain_bailian_app.emulator._apps.app import Answer, App
    from langchain_bailian_app.emulator._apps.faults import FAULTS, Faults
    from langchain_bailian_app.emulator._apps.nodes import Node
    from langchain_bailian_app.emulator._apps.turn import Reply, Turn
    from langchain_bailian_app.emulator._http.errors import ERRORS, ErrorReply
    from langchain_bailian_app.emulator._http.recorder import RecordedRequest
    from langchain_bailian_app.emulator._knowledge.documents import Clip, Document
    from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase
    from langchain_bailian_app.emulator._knowledge_services.service import (
        KnowledgeService,
        KnowledgeSwitches,
    )
    from langchain_bailian_app.emulator._state.file_faults import FILE_FAULTS, FileFaults
    from langchain_bailian_app.emulator._state.run_faults import RUN_FAULTS, RunFaults
    from langchain_bailian_app.emulator._state.sessions import Round
    from langchain_bailian_app.emulator.server import BailianEmulator
except ModuleNotFoundError as exc:
    _MISSING_PACKAGE = (
        f"missing package {(exc.name or '').partition('.')[0] or 'starlette or uvicorn'}, required for "
        "the emulator: pip install 'langchain-bailian-app[emulator]'"
    )
    raise ImportError(_MISSING_PACKAGE) from exc

__all__ = [
    "ERRORS",
    "FAULTS",
    "FILE_FAULTS",
    "RUN_FAULTS",
    "Answer",
    "App",
    "BailianEmulator",
    "Clip",
    "Document",
    "ErrorReply",
    "Faults",
    "FileFaults",
    "KnowledgeBase",
    "KnowledgeService",
    "KnowledgeSwitches",
    "Node",
    "RecordedRequest",
    "Reply",
    "Round",
    "RunFaults",
    "Turn",
]

for _public in (
    App,
    BailianEmulator,
    Clip,
    Document,
    ErrorReply,
    Faults,
    FileFaults,
    KnowledgeBase,
    KnowledgeService,
    KnowledgeSwitches,
    Node,
    RecordedRequest,
    Reply,
    Round,
    RunFaults,
    Turn,
):
    _public.__module__ = __name__
