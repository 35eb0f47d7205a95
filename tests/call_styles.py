"""Ways of calling a model. Each returns the text of the answer to a question, or to messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from langchain_core.messages import message_chunk_to_message

from langchain_bailian_app import BailianAppChatModel
from tests.fixtures import merge_chunks

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage
    from langchain_core.runnables import RunnableConfig

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


async def collect_message(
    model: BailianAppChatModel, call_style: str, messages: Any, config: RunnableConfig | None = None
) -> AIMessage:
    """Call the method with this name and return the message, or that of the merged chunks."""
    match call_style:
        case "invoke":
            return model.invoke(messages, config)
        case "ainvoke":
            return await model.ainvoke(messages, config)
        case "stream":
            chunks = list(model.stream(messages, config))
        case _:
            chunks = [chunk async for chunk in model.astream(messages, config)]
    return message_chunk_to_message(merge_chunks(chunks))


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
