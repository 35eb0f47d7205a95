"""Examples of the public API. They are not run: a change of types fails `make typecheck`."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import assert_type

import httpx
from langchain_core.documents import Document
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableSerializable
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from pydantic import SecretStr

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianAppTool,
    BailianKnowledgeChatModel,
    BailianRetriever,
    BizParams,
    RagOptions,
    workflow_file,
)
from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.errors import BailianError
from langchain_bailian_app.files import BailianFiles, SessionFile
from langchain_bailian_app.llama_index import BailianAppLLM, BailianAppRetriever
from langchain_bailian_app.memory import (
    BailianMemory,
    BailianMemoryLibrary,
    LibraryNode,
    Memory,
    MemoryEvent,
    MemoryNode,
    ProfileAttribute,
    SearchResult,
)
from langchain_bailian_app.options import BizParams as BizParamsOfOptions

model = BailianAppChatModel(
    app_id="app",
    api_key=SecretStr("key"),
    workspace="ws",
    region="cn-beijing",
    gateway="shared",
    first_token_timeout=20,
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

retriever = BailianRetriever(app_id="app", k=3, score_threshold=0.5, rag_options=RagOptions(tags=["t"]))
BailianRetriever(model=model, wait_for_answer=True)
BailianRetriever(pipeline_id="kb", rerank_top_n=3, search_filters=[{"year": 2025}])
BailianRetriever(agent_id="aid", agent_version="beta", kb_search_configs=[{"id": "kb"}])
BailianKnowledgeChatModel(agent_id="aid", agent_version=3, session_files=["file_1"], stop=["。"])
assert_type(retriever.invoke("?", k=1), list[Document])

BailianAppTool(name="tool", description="…", app_id="app", variables={"city": (str, "城市")})
BailianAppTool(name="tool", description="…", model=model, workflow=True)

files = BailianFiles(workspace_id="ws", access_key_id="id", access_key_secret=SecretStr("secret"))
files = BailianFiles(api_key=SecretStr("key"), workspace="ws", base_url="https://host.example/api/v1")
BailianFiles(api_key=lambda: "key")
assert_type(files.upload("a.pdf"), list[SessionFile])
assert_type(files.upload(["a.pdf", Path("b.png")], timeout=60, progress=False), list[SessionFile])
assert_type(files.wait_until_ready("file_session_1"), list[SessionFile])
RagOptions(session_file_ids=files.upload("a.pdf"))
RagOptions(session_file_ids=["file_session_1"])
memory = BailianMemory(workspace_id="ws")
assert_type(memory.create("user"), Memory)
assert_type(memory.nodes("m"), list[MemoryNode])
BailianAppChatModel(app_id="app", files=files, memory_ids={"user": "m"})
library = BailianMemoryLibrary(memory_library_id="lib")
event = library.submit("user", [HumanMessage("?"), ("ai", "!")], profile_schema="s")
assert_type(event, MemoryEvent)
assert_type(library.wait_until_done(event, timeout=60), MemoryEvent)
assert_type(library.search("user", "?", top_k=3, plan_version="pro"), SearchResult)
assert_type(library.search("user", [{"role": "user", "content": "?"}]).nodes, tuple[LibraryNode, ...])
assert_type([node.id for node in library.list("user")], list[str])
assert_type(library.create_profile_schema("s", [ProfileAttribute("a")]), str)
BailianAppChatModel(app_id="app", memory_ids=lambda user: f"memory-of-{user}")

BizParams(city="杭州", days=3, report=workflow_file("https://example.com/report.pdf", kind="document"))
AnswerView(model.invoke("?", answer_node="LLM", agent_version=None))
AnswerView(model.invoke("?"), show_images=True, image_hosts=["my-bucket.oss-cn-beijing.aliyuncs.com"])


async def use_async_methods() -> None:
    """Call the async methods."""
    assert_type(await model.ainvoke("?"), AIMessage)
    assert_type(await files.aupload("a.pdf"), list[SessionFile])
    assert_type(await memory.amemories(), list[Memory])
    assert_type(model.astream("?"), AsyncIterator[AIMessageChunk])
    try:
        await model.ainvoke("?", session_id="s")
    except BailianError as error:
        assert_type(error.partial, AIMessage | None)
        assert_type(error.retry_after, float | None)
        assert_type(error.code, str | None)


llm = BailianAppLLM(app_id="app", memory_id="m", context_window=8_000)
BailianAppLLM(model=model, history="session")
assert_type(llm.chat([ChatMessage("?")], has_thoughts=True), ChatResponse)
assert_type(llm.complete("?"), CompletionResponse)
BailianAppRetriever(model=llm.model, k=3)
BailianAppRetriever(retriever)
