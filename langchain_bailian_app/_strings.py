"""`Strings`: the type of fields that take one string or several."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Strings = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_listed)]
"""A list of strings, none of them empty; one string alone is a list of one."""
