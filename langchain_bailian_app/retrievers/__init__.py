"""Retriever for the knowledge bases of a Bailian application, or for a single knowledge base."""

from langchain_bailian_app.retrievers._retriever import BailianRetriever

__all__ = ["BailianRetriever"]

BailianRetriever.__module__ = __name__
