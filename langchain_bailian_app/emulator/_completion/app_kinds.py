"""What each kind of application takes of a request: the rest does nothing, or is refused.

Fields without effect are taken out before a body is read; records show them all the same.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._apps.app import App, Kind
from langchain_bailian_app.emulator._completion.request import NO_USER, Call, call_from_body
from langchain_bailian_app.emulator._completion.workflow_variables import check_variables
from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import object_of

_LEGACY = frozenset({"history", "doc_tag_codes", "doc_reference_type"})


class _Ignored(NamedTuple):
    """Fields without effect, by the object they stand in."""

    of_input: frozenset[str]
    of_parameters: frozenset[str]


_IGNORED: Mapping[Kind, _Ignored] = MappingProxyType(
    {
        "agent": _Ignored(_LEGACY, frozenset({"flow_stream_mode"})),
        "agent2": _Ignored(
            _LEGACY | {"messages", "memory_id"},
            frozenset({"rag_options", "dialog_round", "enable_web_search", "flow_stream_mode"}),
        ),
        "workflow": _Ignored(
            # Files of a workflow are variables.
            _LEGACY | {"file_list"},
            frozenset({"rag_options", "dialog_round", "enable_web_search", "model_id"}),
        ),
        "rag": _Ignored(frozenset(), frozenset({"flow_stream_mode"})),
    }
)


def call_to(app: App, body: Mapping[str, Any], *, stream: bool) -> Call:
    """Read a request body as an app of its kind does.

    Raises:
        RequestRefused: The service would refuse it.
    """
    given, parameters = object_of(body, "input"), object_of(body, "parameters")
    if app.kind == "agent2" and app.messages_in_agent2 == "refused" and given.get("messages"):
        refuse("InvalidParameter", "messages is not supported by this application.")
    if app.kind == "workflow" and "user_prompt_params" in object_of(given, "biz_params"):
        refuse("InvalidParameter", NO_USER)
    ignored = _IGNORED[app.kind]
    taken = {
        "input": _without(given, ignored.of_input),
        "parameters": _without(parameters, ignored.of_parameters),
    }
    call = call_from_body(taken, stream=stream)
    check_variables(app.variables, call.biz_params)
    return call


def _without(holder: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in holder.items() if name not in names}
