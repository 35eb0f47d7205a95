"""Request fields that each kind of application accepts; others are ignored or rejected.

Ignored fields are removed before the body is parsed; recorded requests still contain them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._apps.app import App, AppKind
from langchain_bailian_app.emulator._completion.request import (
    NO_USER_MESSAGE,
    CompletionRequest,
    completion_request_from_body,
)
from langchain_bailian_app.emulator._completion.workflow_variables import check_variables
from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_object

_LEGACY_FIELDS = frozenset({"history", "doc_tag_codes", "doc_reference_type"})


class _IgnoredFields(NamedTuple):
    """Fields without effect, by the object that contains them."""

    input_fields: frozenset[str]
    parameter_fields: frozenset[str]


_IGNORED_FIELDS: Mapping[AppKind, _IgnoredFields] = MappingProxyType(
    {
        "agent": _IgnoredFields(_LEGACY_FIELDS, frozenset({"flow_stream_mode"})),
        "agent2": _IgnoredFields(
            _LEGACY_FIELDS | {"messages", "memory_id"},
            frozenset({"rag_options", "dialog_round", "enable_web_search", "flow_stream_mode"}),
        ),
        "workflow": _IgnoredFields(
            # A workflow receives files as variables.
            _LEGACY_FIELDS | {"file_list"},
            frozenset({"rag_options", "dialog_round", "enable_web_search", "model_id"}),
        ),
        "rag": _IgnoredFields(frozenset(), frozenset({"flow_stream_mode"})),
    }
)


def parse_request(app: App, body: Mapping[str, Any], *, stream: bool) -> CompletionRequest:
    """Parse a request body for the kind of an app.

    Raises:
        RequestRefused: The service would reject the request.
    """
    input_fields, parameters = get_object(body, "input"), get_object(body, "parameters")
    if app.kind == "agent2" and app.messages_in_agent2 == "refused" and input_fields.get("messages"):
        refuse("InvalidParameter", "messages is not supported by this application.")
    if app.kind == "workflow" and "user_prompt_params" in get_object(input_fields, "biz_params"):
        refuse("InvalidParameter", NO_USER_MESSAGE)
    ignored = _IGNORED_FIELDS[app.kind]
    effective_body = {
        "input": _drop_fields(input_fields, ignored.input_fields),
        "parameters": _drop_fields(parameters, ignored.parameter_fields),
    }
    request = completion_request_from_body(
        effective_body, stream=stream, accept_empty_turns=app.empty_turns == "accepted"
    )
    check_variables(app.variables, request.biz_params)
    return request


def _drop_fields(fields: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}
