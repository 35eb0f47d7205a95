"""Settings of a run: its application, the connection, and how its answer is processed."""

from typing import Any, Self, cast

from langchain_core.utils import from_env
from pydantic import Field

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app._settings.connection import Id
from langchain_bailian_app._transport.service_client_mixin import ServiceClientMixin


class RunSettings(ServiceClientMixin):
    """Settings with which a run is started, queried and read."""

    app_id: Id = Field(
        default_factory=from_env(
            "BAILIAN_APP_ID", error_message="missing `app_id`: pass it or set BAILIAN_APP_ID"
        ),
        validate_default=True,
    )
    """Id of the application that runs. Default: `BAILIAN_APP_ID`."""

    citation_markers: MarkerMode = "strip"
    """Handling of `<ref>[n]</ref>` in the text, as for the model."""

    stop: list[str] | None = None
    """Stop sequences, as for the model."""

    @classmethod
    def from_model(cls, model: Any, **overrides: Any) -> Self:
        """Return the settings of a `BailianAppChatModel`; `overrides` are options of a call.

        Raises:
            ValueError: The model is another object.
        """
        if not isinstance(model, ServiceClientMixin) or not hasattr(model, "citation_markers"):
            message = f"invalid `model`: expected a BailianAppChatModel, got {type(model).__name__}"
            raise ValueError(message)
        values = {name: getattr(model, name) for name in cls.model_fields}
        return cast("Self", cls.model_construct(**values | overrides))
