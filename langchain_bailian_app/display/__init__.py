"""Answers in a notebook or a terminal; colours and Markdown need the extra `display`."""

from langchain_bailian_app.display._view import AnswerView

__all__ = ["AnswerView"]

AnswerView.__module__ = __name__
