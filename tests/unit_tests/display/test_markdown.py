"""The Markdown of an answer, which exports of notebooks contain."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from langchain_bailian_app.display import AnswerView


def make_answer(title: str = "茶书") -> AIMessage:
    citation = {
        "type": "citation",
        "title": title,
        "url": "https://x.test/a_(1)",
        "start_index": 0,
        "end_index": 2,
        "extras": {"reference_index": 1, "doc_name": "茶"},
    }
    return AIMessage(
        "喝茶。\n\n- 水\n- 叶",
        additional_kwargs={"citations": [citation]},
        response_metadata={"model_provider": "bailian"},
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    )


def test_the_text_has_numbers_and_a_list_of_sources() -> None:
    assert AnswerView(make_answer())._repr_markdown_() == (
        "喝茶\\[1\\]。\n\n- 水\n- 叶\n\n**来源**\n\n- \\[1\\] [茶书](<https://x.test/a_(1)>) · 茶\n\n"
        "*输入 1 Token，输出 2 Token*"
    )


def test_titles_are_escaped() -> None:
    markdown = AnswerView(make_answer("[x](y) *z*\n# h"))._repr_markdown_()

    assert r"\[x\]\(y\) \*z\* \# h" in markdown


def test_html_begins_with_the_text_and_ends_with_the_style() -> None:
    html = AnswerView(make_answer())._repr_html_()

    assert html.index("喝茶") < html.index("<style>")
    assert html.endswith("</style></div>")


def test_the_direction_of_a_text_is_its_own() -> None:
    html = AnswerView(AIMessage("שלום \u2067abc\u2069\n\n| a |\n|---|\n| b |"))._repr_html_()

    assert 'class="ba-text" dir="auto"' in html
    assert "\u2067abc\u2069" in html
    assert "text-align:start" in html


def test_overrides_of_the_direction_are_replaced() -> None:
    assert "\u202e" not in AnswerView(AIMessage("a\u202eb"))._repr_html_()
