"""The public API as users write it. Never run: a change of its types fails `make type`."""

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import httpx
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableSerializable
from pydantic import SecretStr

from langchain_bailian_app import BailianAppChatModel, BizParams, RagOptions
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.options import BizParams as BizParamsOfOptions

model = BailianAppChatModel(
    app_id="app",
    api_key=SecretStr("key"),
    workspace="ws",
    region="cn-beijing",
    gateway="shared",
    timeout=60,
    rag_options=RagOptions(pipeline_ids=["kb"], tags=["t"]),
    biz_params=BizParams(user_prompt_params={"city": "杭州"}),
    citation_markers="bracket",
    stop=["。"],
    http_client=httpx.Client(),
)
BailianAppChatModel(api_key=lambda: "key")
BailianAppChatModel()

assert_type(model.invoke("?"), AIMessage)
assert_type(model.invoke([HumanMessage("?")], memory_id="m", stop=["。"]), AIMessage)
assert_type(model.stream("?"), Iterator[AIMessageChunk])
assert_type(model.stream_events("?", version="v3"), ChatModelStream)
assert_type(model.batch(["?"]), list[AIMessage])

chain: RunnableSerializable[dict[str, str], str] = (
    ChatPromptTemplate.from_template("{topic}") | model.bind(memory_id="m") | StrOutputParser()
)
assert_type(BizParamsOfOptions(), BizParams)


async def asynchronously() -> None:
    """Do the same on an event loop."""
    assert_type(await model.ainvoke("?"), AIMessage)
    assert_type(model.astream("?"), AsyncIterator[AIMessageChunk])
    try:
        await model.ainvoke("?", session_id="s")
    except BailianError as error:
        assert_type(error.partial, AIMessage | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.code, str | None)
