"""Variables of a Start node, and templates that use them.

Pure: values keep their JSON types until a template inserts them.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import get_typed

_PLACEHOLDER = re.compile(r"\$\{\s*([^{}]+?)\s*\}")


def check_variables(declared: Mapping[str, type], values: Mapping[str, Any]) -> None:
    """Reject a request that lacks a variable of the Start node, or has a value of a wrong type.

    Raises:
        RequestRefused: A variable is missing or invalid. The message contains the name of the first
            such variable.
    """
    for name, expected_type in declared.items():
        if values.get(name) is None:
            refuse("InvalidParameter", f"Required variable {name} is missing from biz_params.")
        # A variable of type `float` also accepts integers.
        if not (expected_type is float and _is_number(values[name])):
            get_typed(values, name, expected_type)


def to_text(value: object) -> str:
    """Return a string unchanged, and any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def fill_template(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template; leave placeholders without a value unchanged."""

    def replacement(match: re.Match[str]) -> str:
        name = match.group(1)
        return to_text(values[name]) if name in values else match.group(0)

    return _PLACEHOLDER.sub(replacement, template)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
