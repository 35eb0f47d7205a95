"""Options of a call: `RagOptions`, `BizParams` and `workflow_file`."""

from langchain_bailian_app.options._biz_params import BizParams, workflow_file
from langchain_bailian_app.options._rag_options import RagOptions

__all__ = ["BizParams", "RagOptions", "workflow_file"]

for _public in (BizParams, RagOptions, workflow_file):
    _public.__module__ = __name__
