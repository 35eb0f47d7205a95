"""Ways of calling a model. Each returns the text of the answer to a question, or to messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from langchain_bailian_app import BailianAppChatModel

CallStyle = Callable[..., Awaitable[str]]


def make_model_at(base_url: str, **fields: Any) -> BailianAppChatModel:
    """Create a model that calls a server of the test, without retries."""
    settings = {"app_id": "app", "api_key": "k", "base_url": base_url, "max_retries": 0} | fields
    return BailianAppChatModel(**settings)


async def invoke(model: BailianAppChatModel, question: Any = "?", **options: Any) -> str:
    """Call `invoke`."""
    return model.invoke(question, **options).text


async def stream(model: BailianAppChatModel, question: Any = "?", **options: Any) -> str:
    """Call `stream`."""
    return "".join([chunk.text for chunk in model.stream(question, **options)])


async def ainvoke(model: BailianAppChatModel, question: Any = "?", **options: Any) -> str:
    """Call `ainvoke`."""
    return (await model.ainvoke(question, **options)).text


async def astream(model: BailianAppChatModel, question: Any = "?", **options: Any) -> str:
    """Call `astream`."""
    return "".join([chunk.text async for chunk in model.astream(question, **options)])


async def invoke_over_httpx(model: BailianAppChatModel, **options: Any) -> str:
    """Call `invoke` with httpx's own transport."""
    with httpx.Client(trust_env=False) as client:
        return await invoke(model.model_copy(update={"http_client": client}), **options)


async def ainvoke_over_httpx(model: BailianAppChatModel, **options: Any) -> str:
    """Call `ainvoke` with httpx's own transport."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await ainvoke(model.model_copy(update={"http_async_client": client}), **options)


async def ainvoke_over_injected_aiohttp_client(model: BailianAppChatModel, **options: Any) -> str:
    """Call `ainvoke` with a client of the caller."""
    async with HttpxAiohttpClient(trust_env=False) as client:
        return await ainvoke(model.model_copy(update={"http_async_client": client}), **options)


def parametrize_call_styles(*call_styles: CallStyle) -> pytest.MarkDecorator:
    """Run a test with each of these ways of calling."""
    return pytest.mark.parametrize(
        "call_style", call_styles, ids=lambda call_style: call_style.__name__
    )


CALL_STYLES = (invoke, stream, ainvoke, astream)
all_call_styles = parametrize_call_styles(*CALL_STYLES)
own_clients = parametrize_call_styles(invoke, ainvoke)
all_clients = parametrize_call_styles(
    invoke,
    invoke_over_httpx,
    ainvoke,
    ainvoke_over_httpx,
    ainvoke_over_injected_aiohttp_client,
)
