"""Retriever over the knowledge of a Bailian application, or over a knowledge base."""

from langchain_bailian_app.retrievers._retriever import BailianRetriever

__all__ = ["BailianRetriever"]

BailianRetriever.__module__ = __name__
