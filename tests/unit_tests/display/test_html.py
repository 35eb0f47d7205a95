"""The HTML of an answer: where citations stand, and that nothing from the service becomes markup."""

import itertools
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._messages import message_from_answer
from langchain_bailian_app.display import AnswerView
from langchain_bailian_app.display._markdown import PLACE, markdown, settled
from langchain_bailian_app.display._parts import Text
from tests.fixtures import ANSWERS, answer_of, recording, reply, sse

METADATA = {"model_provider": "bailian"}
VOID = {"br", "hr"}
BLOCKS = {"details", "div", "ul", "ol", "li", "p", "pre", "table", "blockquote"}
ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title", "target", "rel"},
    "code": {"class"},
    "div": {"class"},
    "li": {"class", "id"},
    "ol": {"start"},
    "span": {"class"},
    "td": {"style"},
    "th": {"style"},
    "ul": {"class"},
    **{name: set() for name in ("style", "details", "summary", "b", "sup", "p", "strong", "em", "s")},
    **{name: set() for name in ("pre", "blockquote", "hr", "br", "table", "thead", "tbody", "tr")},
    **{f"h{level}": set() for level in range(1, 7)},
}
CLASSES = {
    "bailian-answer mathjax_ignore tex2jax_ignore",
    *("ba-arg", "ba-dim", "ba-failed", "ba-fold", "ba-list", "ba-number", "ba-pre", "ba-sources"),
    *("ba-step", "ba-text", "ba-thought", "ba-trail", "ba-usage ba-dim"),
}
# The word that must not get lost is in each.
HOSTILE = [
    "<script>alert('lotus')</script>",
    '"><img src=x onerror=lotus()>',
    "' onmouseover='lotus()",
    "]]>lotus<!--",
    "</details></div></ul>lotus",
    "javascript:lotus()",
    "[lotus](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;lotus)",
    "[x](data:text/html,lotus)",
    "[x](<http://lotus\" onclick='y'>)",
    "![lotus](javascript:x)",
    "![lotus](https://example.com/x.png 'a\"b')",
    "[![lotus](https://example.com/x.png)](https://example.com)",
    "<https://example.com/lotus>",
    "<file:///lotus>",
    'https://example.com/"onmouseover=lotus',
    "https://example.com/lotus",
    "[lotus][1]\n\n[1]: https://example.com 'x'",
    "[lotus]: https://example.com",
    "\x1b[31mlotus\x1b[0m\x9b0m",
    "\x1b]8;;http://example.com\x1b\\lotus\x07",
    "[red]lotus[/red] [link=http://example.com]x[/link] :smile:",
    "lotus\x00\x7f\x85\r\n\rx",
    "\u202elotus\u2028\ufeff\u0301",
    "\ufdd0lotus\ufdd11\uffff",
    "%EF%B7%90lotus",
    "&lt;lotus&#x3c;&#0;",
    "```lotus\n</code></pre>",
    "~~~\" onclick='x'\nlotus",
    "|lotus|b|\n|:-|-:|\n|a|",
    "> - 1. # lotus\n\n***",
    "**lotus。**",
    "$lotus$ \\(x\\) {{x}} ${x}",
]  # fmt: skip

strings = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=9), max_size=4).map("".join)
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**10) | st.floats() | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=5,
)


class Checker(HTMLParser):
    """Takes balanced HTML with tags and attributes of a fixed list only."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert set(names) <= ATTRIBUTES[tag], (tag, names)
        assert len(names) == len(set(names))
        if tag in BLOCKS:
            assert not {"p", "a", "summary", "span"} & set(self.stack), self.stack
        if tag == "a":
            assert "a" not in self.stack
        for name, value in attrs:
            self.attribute(name, value or "")
        if dict(attrs).get("href", "").startswith("http"):
            assert ("target", "_blank") in attrs
            assert ("rel", "noopener noreferrer") in attrs
        if tag not in VOID:
            self.stack.append(tag)

    def attribute(self, name: str, value: str) -> None:
        match name:
            case "href":
                assert value.startswith("#ba-") or re.match("https?://", value, re.IGNORECASE)
                self.links.append(value)
            case "class":
                assert value in CLASSES or value.startswith("language-")
            case "id":
                assert re.fullmatch(r"ba-[0-9a-f]{10}-[0-9]+", value)
                self.ids.append(value)
            case "style":
                assert value in {"text-align:left", "text-align:right", "text-align:center"}
        self.words += value

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["style"]:
            self.text += data
            self.words += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def checked(message: AIMessage) -> Checker:
    html = AnswerView(message)._repr_html_()
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert not checker.stack
    assert len(checker.ids) == len(set(checker.ids))
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0\ufdd1\uffff]", html)
    return checker


def message_of(text: str, markers: MarkerMode = "strip", known: str = "1234") -> AIMessage:
    references = [
        {"index_id": number, "title": f"第{number}章", "doc_name": "茶书", "text": f"原文{number}"}
        for number in known
    ]
    data = sse(reply(text, finish_reason="stop", doc_references=references))
    return message_from_answer(answer_of(data, markers=markers), "app", {})


def text_of(message: AIMessage) -> str:
    """Return the HTML of the text, with citations as `[1]`."""
    html = AnswerView(message)._repr_html_()
    (text,) = re.findall(r'<div class="ba-text">(.*?)\n?</div>\n', html, re.DOTALL)
    return re.sub(r'<sup><a href="#ba-[^"]*" title="[^"]*">(\[\d+\])</a></sup>', r"{\1}", text)


MODES = pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])


@MODES
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("茶@1。", "<p>茶{[1]}。</p>"),
        ("茶。@1", "<p>茶。{[1]}</p>"),
        ("@1茶", "<p>{[1]}茶</p>"),
        ("茶@1@2@1。水@2", "<p>茶{[1]}{[2]}。水{[2]}</p>"),
        ("茶@9。水@1", None),
        ("**茶**@1叶", "<p><strong>茶</strong>{[1]}叶</p>"),
        ("**茶@1**叶", "<p><strong>茶{[1]}</strong>叶</p>"),
        ("**茶。**@1", "<p><strong>茶。{[1]}</strong></p>"),
        ("**茶。**@1\n\n水@2", "<p><strong>茶。{[1]}</strong></p>\n<p>水{[2]}</p>"),
        ("水。@1**「茶」**", "<p>水{[1]}。<strong>「茶」</strong></p>"),
        ("`茶`@1", "<p><code>茶</code>{[1]}</p>"),
        ("`茶@1`", "<p><code>茶{[1]}</code></p>"),
        ("```\n茶@1\n```", "<pre><code>茶{[1]}\n</code></pre>"),
        ("```\n茶\n```@1", "<pre><code>茶{[1]}\n</code></pre>"),
        ("```\n茶\n```\n@1", "<pre><code>茶{[1]}\n</code></pre>"),
        ("- 茶@1\n- 水@2", "<ul>\n<li>茶{[1]}</li>\n<li>水{[2]}</li>\n</ul>"),
        ("- 茶\n@1\n- 水", "<ul>\n<li>\n<p>茶{[1]}</p>\n</li>\n<li>\n<p>水</p>\n</li>\n</ul>"),
        ("# 茶@1\n水", "<h1>茶{[1]}</h1>\n<p>水</p>"),
        ("茶\n===@1", None),
        ("茶\n\n---@1\n水", "<p>茶{[1]}</p>\n<hr />\n<p>水</p>"),
        ("[茶](https://e.com/@1x)", "<p><a href=X>茶</a>{[1]}</p>"),
        ("[茶@1](https://e.com)", "<p><a href=X>茶</a>{[1]}</p>"),
        ("![茶@1](https://e.com)", "<p><a href=X>茶</a>{[1]}</p>"),
        ("见[茶](https://e.com)@1", "<p>见<a href=X>茶</a>{[1]}</p>"),
        ("<b>@1", "<p>&lt;b&gt;{[1]}</p>"),
        ("[1]茶@1", "<p>[1]茶{[1]}</p>"),
        ("&am@1p;", None),
    ],
)
def test_citations_stand_behind_what_they_cite(
    text: str, expected: str | None, markers: MarkerMode
) -> None:
    message = message_of(re.sub(r"@(\d)", r"<ref>[\1]</ref>", text), markers)

    shown = text_of(message)

    checked(message)
    if expected is not None:
        assert re.sub(r"<a href=[^>]*>", "<a href=X>", shown) == expected
    cited = [number for number in re.findall(r"@(\d)", text) if number != "9"]
    assert sorted(set(re.findall(r"\{\[(\d)\]\}", shown))) == sorted(set(cited))


def test_a_table_keeps_its_citations() -> None:
    ref = "<ref>[1]</ref>"
    message = message_of(f"|a|b|\n|-|-:|\n|1|2{ref}|\n|3|4|{ref}\n|5{ref}|6|")

    html = text_of(message)

    assert re.findall("<td.*?>(.*)</td>", html) == ["1", "2{[1]}", "3", "4{[1]}", "5{[1]}", "6"]


def test_a_citation_without_a_fitting_place_stands_below_the_text() -> None:
    address = "https://example.com/" + "x" * 120
    html = text_of(message_of(f"<{address}<ref>[2]</ref>{'y' * 120}>"))

    assert html.endswith("\n<p>{[2]}</p>")


def test_a_citation_without_a_place_stands_at_the_end() -> None:
    note = {"type": "citation", "url": "https://example.com", "title": "Tea"}
    message = AIMessage([{"type": "text", "text": "Tea.", "annotations": [note, dict(note)]}])

    assert text_of(message) == "<p>Tea.{[1]}</p>"


@MODES
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_are_well_formed(name: str, markers: MarkerMode) -> None:
    checked(message_from_answer(answer_of(recording(name), markers=markers), "app", {}))


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
def test_without_markdown_the_text_is_as_it_came(
    markers: MarkerMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    message = message_of("**<b>**<ref>[1]</ref>\n  茶<ref>[2]</ref>。", markers)

    assert text_of(message) == '<div class="ba-pre">**&lt;b&gt;**{[1]}\n  茶{[2]}。</div>'


def test_a_source_stands_once_and_folds_out() -> None:
    ref = "<ref>[3]</ref>"
    html = AnswerView(message_of(f"茶{ref}。水{ref}。"))._repr_html_()

    assert html.count("<sup>") == 2
    assert html.count("原文3") == 1
    assert re.search(
        r'<li id="(ba-\w+-3)"><details><summary><span class="ba-number">\[3\]</span> 第3章 '
        r'<span class="ba-dim">茶书</span> </summary>'
        r'<div class="ba-fold"><div class="ba-pre">原文3</div></div></details></li>',
        html,
    )


def body_of(message: AIMessage) -> str:
    """Return the HTML behind the style, with one id for all."""
    html = AnswerView(message)._repr_html_()
    return re.sub(r"ba-[0-9a-f]{10}", "ba-id", html.partition("</style>\n")[2])


def test_a_page_has_the_parts_in_their_order_then_the_sources_and_the_usage() -> None:
    note = {"type": "citation", "title": "茶书", "cited_text": "原文"}
    content: list[Any] = [
        {"type": "reasoning", "reasoning": "想"},
        {"type": "reasoning", "reasoning": "再想"},
        {"type": "text", "text": "茶", "annotations": [note]},
        {"type": "reasoning", "reasoning": "后想"},
    ]
    metadata = {"output_version": "v1", "model_name": "qwen", "request_id": "r"}

    def fold(text: str, label: str = "Reasoning") -> str:
        pre = f'<div class="ba-pre">{text}</div>'
        return f'<details><summary>{label}</summary><div class="ba-fold">{pre}</div></details>'

    source = '<span class="ba-number">[1]</span> 茶书 <span class="ba-dim"></span> '
    assert body_of(AIMessage(content, response_metadata=metadata)).split("\n") == [
        '<ul class="ba-trail">',
        f'<li class="ba-thought">{fold("想")}</li>',
        f'<li class="ba-thought">{fold("再想")}</li>',
        "</ul>",
        '<div class="ba-text"><p>茶<sup><a href="#ba-id-1" title="茶书">[1]</a></sup></p>',
        "</div>",
        '<ul class="ba-trail">',
        f'<li class="ba-thought">{fold("后想")}</li>',
        "</ul>",
        '<div class="ba-sources"><b>Sources</b>',
        '<ul class="ba-list">',
        f'<li id="ba-id-1">{fold("原文", source)}</li>',
        "</ul>",
        "</div>",
        '<div class="ba-usage ba-dim">qwen · request r</div>',
        "</div>",
    ]


ARGUMENT = '<span class="ba-arg"><span class="ba-dim">{}</span> {}</span>'


@pytest.mark.parametrize(
    ("result", "kind", "html"),
    [
        (None, "step", '<div class="ba-dim">no result yet</div>'),
        ({"output": "晴"}, "step", ("Result", '<div class="ba-pre">晴</div>')),
        ({"output": "无", "status": "error"}, "failed", ("Failed", '<div class="ba-pre">无</div>')),
        ({"output": None, "status": "error"}, "failed", "<div>Failed</div>"),
        ({"output": None}, "step", ""),
    ],
)
def test_a_step_shows_its_arguments_and_what_came_of_it(
    result: dict[str, Any] | None, kind: str, html: str | tuple[str, str]
) -> None:
    call = {"type": "server_tool_call", "id": "1", "name": "天气", "args": {"城市": "杭州", "n": 2}}
    results = [] if result is None else [{"type": "server_tool_result", "tool_call_id": "1"} | result]
    if isinstance(html, tuple):
        label, fold = html
        html = f'<details><summary>{label}</summary><div class="ba-fold">{fold}</div></details>'

    body = body_of(AIMessage([call, *results], response_metadata={"output_version": "v1"}))

    arguments = ARGUMENT.format("城市", "杭州") + ARGUMENT.format("n", "2")
    assert body == (
        f'<ul class="ba-trail">\n<li class="ba-{kind}"><b>天气</b>{arguments}{html}</li>\n</ul>\n</div>'
    )


def test_hits_are_listed_in_short_with_links_to_the_document_and_its_images() -> None:
    tea = {"content": "【文档名】:茶书\n【正文】:茶\n叶"}
    more = {"title": "第一章", "referenceIndex": 4, "score": 0.5, "webSearchUrl": "http://a"}
    images = {"images": ["http://b", "file:c", "http://d"]}

    def link(url: str, label: str) -> str:
        return f'<a href="{url}" title="{url}" target="_blank" rel="noopener noreferrer">{label} ↗</a>'

    def listed(*hits: dict[str, Any]) -> str:
        step = {"type": "server_tool_result", "tool_call_id": "1", "output": list(hits)}
        return body_of(AIMessage([step], response_metadata={"output_version": "v1"}))

    short = '<li>茶书 <span class="ba-dim"></span> <div class="ba-dim">茶 叶</div></li>'
    links = (
        f"{link('http://a', 'open')} {link('http://b', 'image 1')} file:c {link('http://d', 'image 3')}"
    )
    long = (
        '<li><span class="ba-number">[4]</span> 第一章 <span class="ba-dim">茶书 · score 0.50</span> '
        f'{links}<div class="ba-dim">茶 叶</div></li>'
    )
    fold = '<summary>{}</summary><div class="ba-fold"><ul class="ba-list">{}</ul></div>'
    assert fold.format("1 hit", short) in listed(tea)
    assert fold.format("2 hits", long + short) in listed(tea | more | images, tea)


def test_an_answer_looks_the_same_each_time_and_has_ids_of_its_own() -> None:
    one, same, other = (message_of(f"{tea}<ref>[1]</ref>") for tea in ("绿茶", "绿茶", "红茶"))

    assert AnswerView(one)._repr_html_() == AnswerView(same)._repr_html_()
    assert not set(checked(one).ids) & set(checked(other).ids)


def test_images_are_links() -> None:
    html = text_of(
        message_of("![茶](https://example.com/x.png) [![a](http://b)](http://c) ![](http://d)")
    )

    assert html == (
        '<p><a href="https://example.com/x.png" target="_blank" rel="noopener noreferrer">茶</a>'
        ' <a href="http://c" target="_blank" rel="noopener noreferrer">a (http://b)</a>'
        ' <a href="http://d" target="_blank" rel="noopener noreferrer">image</a></p>'
    )


@pytest.mark.parametrize(
    "url",
    ["javascript:x", "data:x", "file:///x", "//e.com", "/x", "#x", "x", "http://a b", "http:///\n"],
)
def test_other_addresses_are_no_links(url: str) -> None:
    note = {"type": "citation", "url": url, "extras": {"images": [url], "reference_index": 1}}
    block = {"type": "text", "text": f"[x]({url}) ![y]({url})", "annotations": [note]}

    checker = checked(AIMessage([block]))

    assert [link for link in checker.links if not link.startswith("#ba-")] in ([], ["http://a"])
    assert " ".join(url.split()) in " ".join(checker.text.split())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_becomes_markup_and_nothing_is_lost(hostile: str) -> None:
    hit = {"content": hostile, "title": hostile, "dataName": hostile, "webSearchUrl": hostile}
    extras = {"reference_index": 4, "doc_name": f"d{hostile}", "page_number": [hostile]}
    note = {"type": "citation", "url": hostile, "title": hostile, "cited_text": hostile}
    step = {"type": "server_tool_call", "id": hostile, "name": hostile, "args": {hostile: hostile}}
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": hostile},
            step,
            {"type": "server_tool_result", "tool_call_id": hostile, "output": hostile},
            {**step, "id": "2"},
            {"type": "server_tool_result", "tool_call_id": "2", "output": [hit]},
            {"type": f"x{hostile}", hostile: hostile},
            {"type": "image", "mime_type": hostile},
            {
                "type": "text",
                "text": hostile,
                "annotations": [
                    {**note, "end_index": len(hostile), "extras": {**extras, "images": [hostile]}}
                ],
            },
        ],
        usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        response_metadata={
            "model_usage": [{"model_id": hostile, "input_tokens": hostile}] * 2,
            "finish_reason": hostile,
            "request_id": hostile,
        },
    )

    # reasoning, 4 + 3 of steps, 3 of a hit, 3 + 1 of other blocks, text, 7 of the source, 6 of usage
    assert checked(message).words.count("lotus") >= 29


@given(st.lists(st.tuples(strings, st.integers(1, 5)), max_size=5), st.data())
def test_any_text_with_citations_is_well_formed(
    pieces: list[tuple[str, int]], data: st.DataObject
) -> None:
    text = "".join(f"{piece}[{number}]" for piece, number in pieces)
    notes = [
        {
            "type": "citation",
            "end_index": data.draw(st.integers(0, len(text))),
            "title": piece,
            "extras": {"reference_index": number},
        }
        for piece, number in pieces
    ]
    message = AIMessage(text, additional_kwargs={"citations": notes}, response_metadata=METADATA)

    checker = checked(message)

    cited = {f"-{number}" for _, number in pieces}
    assert {link[link.rindex("-") :] for link in checker.links if link[0] == "#"} == cited


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "reasoning_content": values,
            "steps": st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["server_tool_call", "server_tool_result"])},
                    optional=dict.fromkeys(["id", "tool_call_id", "name", "args", "status"], values),
                )
            )
            | values,
            "thoughts": st.lists(st.fixed_dictionaries({"observation": values})) | values,
            "citations": st.lists(
                st.fixed_dictionaries(
                    {"type": st.just("citation")},
                    optional={
                        **dict.fromkeys(["url", "title", "cited_text", "end_index"], values),
                        "extras": values
                        | st.fixed_dictionaries(
                            {},
                            optional=dict.fromkeys(
                                ["reference_index", "doc_name", "page_number", "images", "score"],
                                values,
                            ),
                        ),
                    },
                )
            )
            | values,
            "block_order": values,
        },
    ),
    st.dictionaries(
        st.sampled_from(["model_usage", "model_name", "finish_reason", "request_id"]), values
    ),
)
def test_any_message_can_be_shown(kwargs: dict[str, Any], metadata: dict[str, Any]) -> None:
    message = AIMessage("茶", additional_kwargs=kwargs, response_metadata={**metadata, **METADATA})

    assert "茶" in checked(message).text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", str(AnswerView(message)))


@given(st.lists(st.fixed_dictionaries({"type": strings}, optional={"id": values, "text": values})))
def test_any_list_of_blocks_can_be_shown(blocks: list[Any]) -> None:
    checked(AIMessage(blocks, response_metadata={"output_version": "v1"}))


def test_many_citations_behind_markup_stand_where_they_should() -> None:
    text = "".join(
        f"**茶{n}。**<ref>[1]</ref>\n\n- |\n\n```\nx\n```\n<ref>[2]</ref>\n" for n in range(40)
    )
    html = text_of(message_of(text))

    assert html.count("。{[1]}</strong>") == 40
    assert html.count("x{[2]}\n</code>") == 40


def test_the_search_for_places_ends() -> None:
    piece = f"<https://{'x' * 200}{'y' * 200}>"
    text = Text(piece * 200, {200 + number * len(piece): [1] for number in range(200)})
    rendered = 0

    def render(source: str) -> str:
        nonlocal rendered
        rendered += len(source)
        return markdown().render(source)

    assert settled(text, render) == ({}, [1])
    assert rendered < 2_500_000


def renderer(fitting: set[int], most: int = 9) -> Callable[[str], str]:
    """Return what takes placeholders at these places only, and so many at most."""

    def render(marked: str) -> str:
        before = itertools.accumulate(map(len, marked.split(PLACE)[:-1]))
        good = set(before) <= fitting and marked.count(PLACE) <= most
        return marked if good else marked.replace(PLACE, "")

    return render


@pytest.mark.parametrize(
    ("source", "place", "fitting", "expected"),
    [
        pytest.param("ab, (cd) ef", 4, {4, 3}, 4, id="where it is"),
        pytest.param("ab, (cd) ef", 4, {2, 5}, 2, id="back over what is no word"),
        pytest.param("ab, (cd) ef", 4, {0, 5}, 5, id="onward"),
        pytest.param("ab, (cd) ef", 4, {0, 11}, 11, id="at the end"),
        pytest.param("ab, (cd) ef", 4, {0, 6}, 0, id="at the beginning"),
        pytest.param("ab, (cd) ef", 4, {6}, None, id="never within a word"),
        pytest.param("a b c", 3, {2, 5}, 5, id="onward before back over a word"),
        pytest.param("a b c", 3, {1}, 1, id="back over a word"),
        pytest.param("叶** ~~", 6, {1, 5}, 1, id="before markup"),
        pytest.param("。" * 300, 150, {50}, 50, id="as far back as is near"),
        pytest.param("。" * 300, 150, {49}, None, id="too far back"),
        pytest.param("。" * 300, 150, {250}, 250, id="as far onward as is near"),
        pytest.param("。" * 300, 150, {251}, None, id="too far onward"),
    ],
)
def test_a_citation_goes_to_the_nearest_place_that_fits(
    source: str, place: int, fitting: set[int], expected: int | None
) -> None:
    marks, rest = settled(Text(source, {place: [1, 2]}), renderer(fitting))

    assert (marks, rest) == (({}, [1, 2]) if expected is None else ({expected: [1, 2]}, []))


@pytest.mark.parametrize(
    ("marks", "fitting", "most", "expected"),
    [
        pytest.param({1: [1], 3: [2]}, {1, 3}, 9, ({1: [1], 3: [2]}, []), id="all fit"),
        pytest.param({1: [1], 3: [2], 5: [3]}, {1, 5}, 9, ({1: [1], 5: [2, 3]}, []), id="shared"),
        pytest.param({3: [1], 5: [2]}, {1, 5}, 9, ({5: [1, 2]}, []), id="onward"),
        pytest.param({1: [1], 200: [2], 250: [3, 2]}, {1}, 9, ({1: [1]}, [2, 3]), id="too far"),
        pytest.param({1: [1], 250: [2, 3]}, {1, 250}, 1, ({}, [1, 2, 3]), id="not together"),
        pytest.param({}, set(), 0, ({}, []), id="none"),
    ],
)
def test_citations_that_fit_nowhere_are_left_over(
    marks: dict[int, list[int]],
    fitting: set[int],
    most: int,
    expected: tuple[dict[int, list[int]], list[int]],
) -> None:
    text = Text("a b c" + "。" * 300, marks)

    assert settled(text, renderer(fitting, most)) == expected


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("茶\n水", "<p>茶<br />\n水</p>"),
        ("~~茶~~", "<p><s>茶</s></p>"),
        ("[茶]: https://e.com", "<p>[茶]: https://e.com</p>"),
        ("<b>茶</b>", "<p>&lt;b&gt;茶&lt;/b&gt;</p>"),
    ],
)
def test_markdown_is_read_as_a_model_means_it(text: str, html: str) -> None:
    assert text_of(message_of(text)) == html
