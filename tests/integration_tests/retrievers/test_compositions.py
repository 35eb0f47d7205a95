"""Tests of the retriever in chains, tools and retrievers of other packages."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MultiQueryRetriever,
)
from langchain_classic.retrievers.document_compressors import LLMChainExtractor
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_bailian_app import BailianRetriever

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.prompt_values import PromptValue

    from langchain_bailian_app.emulator import BailianEmulator

PHONES = "phones0001"


@pytest.fixture(params=["asked", "direct"])
def customs(request: pytest.FixtureRequest, bailian: BailianEmulator) -> BailianRetriever:
    """Return a retriever for customs terms, through an application or directly."""
    fields: dict[str, Any] = {"app_id": bailian.app_id}
    if request.param == "direct":
        fields = {"pipeline_id": "customs001"}
    return BailianRetriever(base_url=bailian.base_url, api_key=bailian.api_key, k=2, **fields)


@pytest.fixture
def phones(bailian: BailianEmulator) -> BailianRetriever:
    """Return a retriever for phones."""
    return BailianRetriever(base_url=bailian.base_url, api_key=bailian.api_key, pipeline_id=PHONES, k=2)


def join_texts(documents: list[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


async def test_documents_are_the_context_of_another_model(customs: BailianRetriever) -> None:
    prompt = ChatPromptTemplate.from_template("资料：{context}\n问题：{question}")
    prompts: list[PromptValue] = []
    model = RunnableLambda(lambda value: prompts.append(value) or value) | FakeListChatModel(
        responses=["按日征收。"] * 2
    )
    chain = (
        {"context": customs | join_texts, "question": RunnablePassthrough()}
        | prompt
        | model
        | StrOutputParser()
    )

    assert chain.invoke("什么是滞报金？") == "按日征收。"
    assert await chain.ainvoke("什么是滞报金？") == "按日征收。"
    for value in prompts:
        assert "千分之零点五" in value.to_string()
        assert value.to_string().endswith("问题：什么是滞报金？")


def test_documents_are_returned_next_to_the_question(customs: BailianRetriever) -> None:
    with_documents = RunnablePassthrough.assign(documents=itemgetter("question") | customs)

    result = with_documents.invoke({"question": "什么是滞报金？"})

    assert result["documents"][0].metadata["title"].startswith("滞报金")


async def test_a_retriever_is_a_tool(customs: BailianRetriever) -> None:
    tool = create_retriever_tool(
        customs, "customs", "查海关术语", response_format="content_and_artifact"
    )
    call = {"name": "customs", "args": {"query": "什么是滞报金？"}, "id": "1", "type": "tool_call"}

    for message in (tool.invoke(call), await tool.ainvoke(call)):
        assert "千分之零点五" in message.content
        assert message.artifact[0].metadata["score"] > 0


def test_a_retriever_works_in_a_graph(customs: BailianRetriever) -> None:
    def answer(state: MessagesState) -> dict[str, Any]:
        (first, *_) = customs.invoke(state["messages"][-1].text)
        return {"messages": [("ai", first.page_content)]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)

    result = graph.compile().invoke({"messages": [HumanMessage("什么是滞报金？")]})

    assert "千分之零点五" in result["messages"][-1].text


async def test_several_retrievers_are_combined_in_an_ensemble(
    customs: BailianRetriever, phones: BailianRetriever
) -> None:
    ensemble = EnsembleRetriever(retrievers=[customs, phones], weights=[0.5, 0.5])

    documents = ensemble.invoke("滞报金和谷雨5的电池")

    assert {d.metadata["pipeline_id"] for d in documents} == {"customs001", PHONES}
    assert documents == await ensemble.ainvoke("滞报金和谷雨5的电池")


async def test_a_model_compresses_the_documents(customs: BailianRetriever) -> None:
    extractor = LLMChainExtractor.from_llm(FakeListChatModel(responses=["精华"]))
    compressing = ContextualCompressionRetriever(base_compressor=extractor, base_retriever=customs)

    documents = compressing.invoke("什么是滞报金和保税？")

    assert {document.page_content for document in documents} == {"精华"}
    assert documents[0].metadata["pipeline_id"] == "customs001"
    assert documents == await compressing.ainvoke("什么是滞报金和保税？")


async def test_a_model_rephrases_the_query_in_several_ways(
    customs: BailianRetriever, bailian: BailianEmulator
) -> None:
    model = FakeListChatModel(responses=["什么是滞报金？\n什么是保税？\n什么是查验？"])
    multiple = MultiQueryRetriever.from_llm(retriever=customs.model_copy(update={"k": 1}), llm=model)
    request_count = len(bailian.requests)

    documents = multiple.invoke("三个术语")

    assert len(bailian.requests) - request_count == 3
    assert len(documents) == 3
    assert documents == await multiple.ainvoke("三个术语")
