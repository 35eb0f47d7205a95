"""Variables of a Start node, and the templates that name them.

Pure: types of the wire are kept until a template shows them.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_bailian_app.emulator._http.errors import refuse
from langchain_bailian_app.emulator._http.fields import typed

_PLACE = re.compile(r"\$\{\s*([^{}]+?)\s*\}")


def check_variables(declared: Mapping[str, type], given: Mapping[str, Any]) -> None:
    """Refuse a call that leaves out a variable of the Start node, or gives one of another type.

    Raises:
        RequestRefused: The first of them, by name.
    """
    for name, kind in declared.items():
        if given.get(name) is None:
            refuse("InvalidParameter", f"Required variable {name} is missing from biz_params.")
        # A whole number is a number.
        if not (kind is float and _is_number(given[name])):
            typed(given, name, kind)


def as_text(value: object) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def filled(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template; a name without a value stays as it is."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return as_text(values[name]) if name in values else match.group(0)

    return _PLACE.sub(value, template)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
