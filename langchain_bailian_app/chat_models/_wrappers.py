"""Bindings, fallbacks and configurable versions of a chat model, which keep all of its settings.

LangChain's wrappers call `bind_tools` and `with_structured_output` of the model inside, and the result
is a wrapper of that model alone: bound keyword arguments, a bound config and alternatives are lost
without an error. The classes of this module keep them. In a dump, they are LangChain's own classes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig, RunnableWithFallbacks
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import (
    DynamicRunnable,
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.utils import ConfigurableFieldSpec

from langchain_bailian_app._request.fields import wrap_secrets


class WrapperMethods:
    """LangChain's methods that wrap a runnable. They return the classes of this module."""

    if not TYPE_CHECKING:  # the signatures of the base classes are more precise

        def bind(self, **kwargs: Any) -> Any:
            return _convert(super().bind(**wrap_secrets(kwargs)))

        def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            return _convert(super().with_config(config, **kwargs))

        def with_listeners(self, **listeners: Any) -> Any:
            return _convert(super().with_listeners(**listeners))

        def with_alisteners(self, **listeners: Any) -> Any:
            return _convert(super().with_alisteners(**listeners))

        def with_types(self, *args: Any, **types: Any) -> Any:
            return _convert(super().with_types(*args, **types))

        def with_fallbacks(self, fallbacks: Sequence[Runnable], **options: Any) -> Any:
            return _convert(super().with_fallbacks(fallbacks, **options))

        def configurable_fields(self, **fields: Any) -> Any:
            return _convert(super().configurable_fields(**fields))

        def configurable_alternatives(self, which: Any, **options: Any) -> Any:
            return _convert(super().configurable_alternatives(which, **options))


class _Wrapper(WrapperMethods):
    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id of LangChain's class in a dump, so that the dump can be loaded."""
        bases = (base for base in cls.__mro__ if base.__module__.startswith("langchain_core."))
        lc_id: list[str] = cast("Any", next(bases)).lc_id()
        return lc_id


class ModelBinding(_Wrapper, RunnableBinding[Any, Any]):  # type: ignore[no-redef]  # a field `kwargs`
    """Model with bound keyword arguments and a bound config."""

    def bind_tools(
        self, tools: Sequence[Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools in addition to the keyword arguments and the config of this binding."""
        return self._add_settings_to(cast("Any", self.bound).bind_tools(tools, **kwargs))

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable for structured output with the settings of this binding.

        Raises:
            TypeError: A bound keyword argument cannot be used with structured output.
        """
        runnable = cast("Any", self.bound).with_structured_output(schema, **{**self.kwargs, **kwargs})
        if not self.config and not self.config_factories:
            return cast("Runnable[LanguageModelInput, Any]", runnable)
        return RunnableBinding(
            bound=runnable, config=self.config, config_factories=self.config_factories
        )

    def _add_settings_to(self, runnable: Runnable[Any, Any]) -> "ModelBinding":
        """Return a binding with the settings of this one; those of the runnable take precedence."""
        inner = runnable if isinstance(runnable, RunnableBinding) else RunnableBinding(bound=runnable)
        return ModelBinding(
            bound=inner.bound,
            kwargs={**self.kwargs, **inner.kwargs},
            config=merge_configs(self.config, inner.config),
            config_factories=[*inner.config_factories, *self.config_factories],
            custom_input_type=self.custom_input_type,
            custom_output_type=self.custom_output_type,
        )

    if not TYPE_CHECKING:  # as above

        def bind(self, **kwargs: Any) -> Any:
            return self._add_settings_to(self.bound.bind(**kwargs))

        def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            return super().with_config(merge_configs(self.config, config, kwargs))

        def with_alisteners(self, **listeners: Any) -> Any:
            return self._add_settings_to(self.bound.with_alisteners(**listeners))


class ModelWithFallbacks(_Wrapper, RunnableWithFallbacks[Any, Any]):
    """Model with fallbacks. LangChain passes `bind_tools` on to each of them."""


class _Configurable(_Wrapper):
    def bind_tools(
        self, tools: Sequence[Any], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools to the model that the config of a call selects."""
        return self._call_when_configured("bind_tools", tools, **kwargs)

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable for structured output of the model that the config of a call selects."""
        return self._call_when_configured("with_structured_output", schema, **kwargs)

    def _call_when_configured(self, method: str, *arguments: Any, **options: Any) -> "ConfiguredModel":
        return ConfiguredModel(
            default=cast("Any", self),
            method=method,
            arguments=arguments,
            options=wrap_secrets(options),
        )

    if not TYPE_CHECKING:  # as above

        def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
            return super().with_config(merge_configs(self.config, config), **kwargs)


# Pydantic accepts no model in the field `default` if these bases have type arguments.


class ConfigurableModel(_Configurable, RunnableConfigurableFields):  # type: ignore[type-arg]
    """Model with fields that the config of a call may set."""


class AlternativeModels(_Configurable, RunnableConfigurableAlternatives):  # type: ignore[type-arg]
    """Models among which the config of a call selects."""


class ConfiguredModel(_Configurable, DynamicRunnable):  # type: ignore[type-arg]
    """Result of a method of a configurable model. The method is called when the config is known."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return False: LangChain has no class that could represent this one in a dump."""
        return False

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """Fields of the config that the model reads."""
        return self.default.config_specs

    def _prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[Any, Any], RunnableConfig]:
        model, config = cast("Any", self.default).prepare(config)
        return getattr(model, self.method)(*self.arguments, **self.options), config


_OWN_CLASSES: dict[type, type] = {
    RunnableBinding: ModelBinding,
    RunnableWithFallbacks: ModelWithFallbacks,
    RunnableConfigurableFields: ConfigurableModel,
    RunnableConfigurableAlternatives: AlternativeModels,
}


def _convert(runnable: Any) -> Any:
    """Convert one of LangChain's wrappers to the class of this module."""
    for base, own_class in _OWN_CLASSES.items():
        if isinstance(runnable, base) and not isinstance(runnable, own_class):
            return own_class(**vars(runnable))
    return runnable
