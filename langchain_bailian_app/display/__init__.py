"""Rendering of answers in notebooks and terminals; Markdown and colors require the `display` extra."""

from langchain_bailian_app.display._view import AnswerView

__all__ = ["AnswerView"]

AnswerView.__module__ = __name__
