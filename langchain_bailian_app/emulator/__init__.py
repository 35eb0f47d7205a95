"""A local emulator of Bailian applications: the wire protocol on loopback, and no model.

For first steps without a key, and for test suites. Needs the extra `emulator`; independent of the
client in this distribution, so that each can check the other.
"""

from langchain_bailian_app.emulator.apps import Answer, App
from langchain_bailian_app.emulator.documents import Document
from langchain_bailian_app.emulator.errors import ERRORS, ErrorReply
from langchain_bailian_app.emulator.faults import FAULTS, Faults
from langchain_bailian_app.emulator.file_faults import FILE_FAULTS, FileFaults
from langchain_bailian_app.emulator.knowledge import KnowledgeBase
from langchain_bailian_app.emulator.nodes import Node
from langchain_bailian_app.emulator.records import RecordedRequest
from langchain_bailian_app.emulator.server import BailianEmulator
from langchain_bailian_app.emulator.turns import Reply, Round, Turn

__all__ = [
    "ERRORS",
    "FAULTS",
    "FILE_FAULTS",
    "Answer",
    "App",
    "BailianEmulator",
    "Document",
    "ErrorReply",
    "Faults",
    "FileFaults",
    "KnowledgeBase",
    "Node",
    "RecordedRequest",
    "Reply",
    "Round",
    "Turn",
]
