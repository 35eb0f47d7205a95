"""Background runs (异步调用): answers that applications write while no connection is open."""

from langchain_bailian_app.runs._as_completed import aas_completed, as_completed
from langchain_bailian_app.runs._run import BailianRun
from langchain_bailian_app.runs._state import RunStatus
from langchain_bailian_app.runs._tools import create_run_tools

__all__ = ["BailianRun", "RunStatus", "aas_completed", "as_completed", "create_run_tools"]

for _public in (BailianRun, aas_completed, as_completed, create_run_tools):
    _public.__module__ = __name__
