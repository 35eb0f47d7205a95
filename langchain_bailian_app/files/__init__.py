"""Session files (会话文件): files that you upload to ask an application questions about them."""

from langchain_bailian_app.files._client import BailianFiles
from langchain_bailian_app.options._session_files import SessionFile

__all__ = ["BailianFiles", "SessionFile"]

for _public in (BailianFiles, SessionFile):
    _public.__module__ = __name__
