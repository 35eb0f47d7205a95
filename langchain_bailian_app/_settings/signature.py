"""Signatures of public classes, as `help()` and IPython show them.

Pydantic's own signature begins with the fields of the base classes, and shows the metadata of types.
"""

from __future__ import annotations

import inspect
import types
from functools import cached_property, reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

C = TypeVar("C", bound="type[BaseModel]")


def with_readable_signature(cls: C) -> C:
    """Decorate a pydantic class: its own fields come first in its signature, and types are plain."""
    type.__setattr__(cls, "__signature__", _LazySignature(cls))
    return cls


class _LazySignature:
    """Class attribute that builds the signature when it is needed, so that imports are not slower."""

    def __init__(self, cls: type[BaseModel]) -> None:
        self._class = cls
        self._original = inspect.getattr_static(cls, "__signature__")

    def __get__(self, instance: object, _: type) -> inspect.Signature:
        if instance is not None:
            message = "__signature__"  # instances may be callable, and have another signature
            raise AttributeError(message)
        return self._signature

    @cached_property
    def _signature(self) -> inspect.Signature:
        original: inspect.Signature = self._original.__get__(None, self._class)
        own_fields_first = [
            name for base in self._class.__mro__ for name in inspect.get_annotations(base)
        ]
        parameters = [
            parameter.replace(annotation=_strip_metadata(parameter.annotation))
            for parameter in original.parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        parameters.sort(key=lambda parameter: own_fields_first.index(parameter.name))
        return inspect.Signature(parameters)


def _strip_metadata(annotation: Any) -> Any:
    """Return a type without the metadata of `Annotated`, at any depth."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _strip_metadata(arguments[0])
    if origin in (Union, types.UnionType):
        return reduce(or_, map(_strip_metadata, arguments))
    if origin in (list, dict):
        return origin[tuple(map(_strip_metadata, arguments))]
    return annotation
