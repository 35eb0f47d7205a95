"""Tests of the HTML of an answer: positions of citations, and escaping of text from the service."""

import re
import sys
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._messages import message_from_answer
from langchain_bailian_app.display import AnswerView
from tests.fixtures import ANSWER_RECORDINGS, parse_answer, read_recording
from tests.unit_tests.display.messages import HOSTILE, message_with_references, strings

METADATA = {"model_provider": "bailian"}
VOID_TAGS = {"br", "hr", "img"}
BLOCK_TAGS = {"details", "div", "ul", "ol", "li", "p", "pre", "table", "blockquote"}
ALLOWED_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "name", "title", "target", "rel"},
    "code": {"class"},
    "img": {"src", "alt", "loading", "referrerpolicy", "style"},
    "div": {"class", "dir"},
    "li": {"class"},
    "ol": {"start"},
    "span": {"class"},
    "td": {"class", "style"},
    "th": {"style"},
    "ul": {"class"},
    **{name: set() for name in ("style", "details", "summary", "b", "sup", "p", "strong", "em", "s")},
    **{name: set() for name in ("pre", "blockquote", "hr", "br", "table", "thead", "tbody", "tr")},
    **{f"h{level}": set() for level in range(1, 7)},
}
ALLOWED_CLASSES = {
    "bailian-answer mathjax_ignore tex2jax_ignore",
    *("ba-arg", "ba-dim", "ba-failed", "ba-fold", "ba-list", "ba-number", "ba-pre", "ba-sources"),
    *("ba-nowrap", "ba-step", "ba-text", "ba-thought", "ba-trail", "ba-usage ba-dim"),
}

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**10) | st.floats() | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=5,
)


class HtmlChecker(HTMLParser):
    """Parser that accepts only balanced HTML, with tags and attributes from a fixed list."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.text = ""
        self.all_text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert set(names) <= ALLOWED_ATTRIBUTES[tag], (tag, names)
        assert len(names) == len(set(names))
        if tag in BLOCK_TAGS:
            assert not {"p", "a", "summary", "span"} & set(self.stack), self.stack
        if tag == "a":
            assert "a" not in self.stack
        for name, value in attrs:
            self.check_attribute(name, value or "")
        if dict(attrs).get("href", "").startswith("http"):
            assert ("target", "_blank") in attrs
            assert ("rel", "noopener noreferrer") in attrs
        if tag not in VOID_TAGS:
            self.stack.append(tag)

    def check_attribute(self, name: str, value: str) -> None:
        match name:
            case "href":
                assert value.startswith("#ba-") or re.match("https?://", value, re.IGNORECASE)
                self.links.append(value)
            case "src":
                self.images.append(value)
            case "class":
                assert value in ALLOWED_CLASSES or value.startswith("language-")
            case "name":
                assert re.fullmatch(r"ba-[0-9a-f]{10}-[0-9]+", value)
                self.names.append(value)
            case "style":
                alignments = {f"text-align:{side}" for side in ("left", "right", "center")}
                assert value in {*alignments, "max-width:100%;max-height:30em"}
        self.all_text += value

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID_TAGS
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] != ["style"]:
            self.text += data
            self.all_text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def check_html(message: AIMessage, **options: Any) -> HtmlChecker:
    html = AnswerView(message, **options)._repr_html_()
    checker = HtmlChecker()
    checker.feed(html)
    checker.close()
    assert not checker.stack
    assert len(checker.names) == len(set(checker.names))
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.names)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0\ufdd1\uffff]", html)
    if not options:
        assert checker.images == []
    return checker


def render_text_html(message: AIMessage, **options: Any) -> str:
    """Return the HTML of the text, with citations as `[1]`."""
    html = AnswerView(message, **options)._repr_html_()
    (text,) = re.findall(r'<div class="ba-text" dir="auto">(.*?)\n?</div>\n', html, re.DOTALL)
    return re.sub(r'<sup><a href="#ba-[^"]*" title="[^"]*">(\[\d+\])</a></sup>', r"{\1}", text)


each_marker_mode = pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])


@each_marker_mode
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
        ("`茶@1`", "<p><code>茶</code>{[1]}</p>"),
        ("`茶`。@1\n\n- |\n\n```\nx\n```\n@2", None),
        ("`茶`@1\n\n```\nx\n```@2", "<p><code>茶</code>{[1]}</p>\n<pre><code>x{[2]}\n</code></pre>"),
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
def test_citations_follow_the_cited_text(text: str, expected: str | None, markers: MarkerMode) -> None:
    message = message_with_references(re.sub(r"@(\d)", r"<ref>[\1]</ref>", text), markers)

    html = render_text_html(message)

    check_html(message)
    if expected is not None:
        assert re.sub(r"<a href=[^>]*>", "<a href=X>", html) == expected
    cited = [number for number in re.findall(r"@(\d)", text) if number != "9"]
    assert sorted(set(re.findall(r"\{\[(\d)\]\}", html))) == sorted(set(cited))


def test_a_table_keeps_its_citations() -> None:
    ref = "<ref>[1]</ref>"
    message = message_with_references(f"|a|b|\n|-|-:|\n|1|2{ref}|\n|3|4|{ref}\n|5{ref}|6|")

    html = render_text_html(message)

    assert re.findall("<td.*?>(.*)</td>", html) == ["1", "2{[1]}", "3", "4{[1]}", "5{[1]}", "6"]


def test_a_citation_that_fits_nowhere_is_placed_below_the_text() -> None:
    address = "https://example.com/" + "x" * 120
    html = render_text_html(message_with_references(f"<{address}<ref>[2]</ref>{'y' * 120}>"))

    assert html.endswith("\n<p>{[2]}</p>")


def test_a_citation_without_a_position_is_placed_at_the_end() -> None:
    note = {"type": "citation", "url": "https://example.com", "title": "Tea"}
    message = AIMessage([{"type": "text", "text": "Tea.", "annotations": [note, dict(note)]}])

    assert render_text_html(message) == "<p>Tea.{[1]}</p>"


@each_marker_mode
@pytest.mark.parametrize("name", ANSWER_RECORDINGS)
def test_recorded_answers_are_well_formed(name: str, markers: MarkerMode) -> None:
    check_html(message_from_answer(parse_answer(read_recording(name), markers=markers), "app", {}))


@pytest.mark.parametrize("markers", ["strip", "bracket", "keep"])
def test_without_markdown_it_the_text_is_shown_unformatted(
    markers: MarkerMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "markdown_it", None)
    message = message_with_references("**<b>**<ref>[1]</ref>\n  茶<ref>[2]</ref>。", markers)

    assert (
        render_text_html(message)
        == '<div class="ba-pre" dir="auto">**&lt;b&gt;**{[1]}\n  茶{[2]}。</div>'
    )


def test_a_source_is_listed_once_and_can_be_expanded() -> None:
    ref = "<ref>[3]</ref>"
    html = AnswerView(message_with_references(f"茶{ref}。水{ref}。"))._repr_html_()

    assert html.count("<sup>") == 2
    assert html.count('<div class="ba-pre" dir="auto">原文3</div>') == 1
    assert re.search(
        r'<li><details><summary><span class="ba-number">\[3\]</span> 第3章 '
        r'<span class="ba-dim">茶书</span> </summary>'
        r'<div class="ba-fold"><a name="ba-\w+-3"></a><div class="ba-pre" dir="auto">原文3</div></div>'
        r"</details>",
        html,
    )


def render_body_html(message: AIMessage) -> str:
    """Return the HTML after the style sheet, with a fixed id prefix."""
    html = AnswerView(message)._repr_html_()
    return re.sub(
        r"ba-[0-9a-f]{10}", "ba-id", html.partition("\n")[2].partition("<style>")[0] + "</div>"
    )


def test_the_tooltip_of_a_citation_is_an_excerpt_of_its_source() -> None:
    note = {"type": "citation", "title": 'A "Tea" <b>', "cited_text": "leaf & root\n" * 40}
    block = {"type": "text", "text": "Tea.", "annotations": [note]}

    html = AnswerView(AIMessage([block]))._repr_html_()

    (tooltip,) = re.findall(r'<sup><a href="#ba-[^"]*" title="([^"]*)">', html)
    title, excerpt = unescape(tooltip).split("\n")
    assert title == 'A "Tea" <b>'
    assert excerpt == "leaf & root " * 13 + "leaf…"


def test_the_anchor_of_a_source_is_inside_the_element_that_opens() -> None:
    """Browsers open the `<details>` around the target of a link.

    JupyterLab scrolls to an `id` itself, without opening anything. It does not look for an `<a name>`.
    """
    html = AnswerView(message_with_references("茶<ref>[3]</ref>。水<ref>[1]</ref>"))._repr_html_()

    links = re.findall(r'<a href="#(ba-[^"]*)"', html)
    folds = re.findall(r"<details>.*?</details>", html)
    assert " id=" not in html
    assert len(links) == 2
    assert all(sum(f'<a name="{link}"></a><div' in fold for fold in folds) == 1 for link in links)


def test_a_source_without_text_has_an_anchor_too() -> None:
    note = {"type": "citation", "title": "Tea", "end_index": 3}
    block = {"type": "text", "text": "Tea.", "annotations": [note]}

    html = AnswerView(AIMessage([block]))._repr_html_()

    assert re.search(r'<li><a name="(ba-\w+-1)"></a><div><span class="ba-number">', html)


@pytest.mark.parametrize(
    ("cell", "kept_on_one_line"),
    [
        ("1,234,567.89", True),
        ("2024-01-05", True),
        ("2024-01-05 12:30", True),
        ("−12.5 %", True),
        ("¥ 50<ref>[1]</ref>", True),
        ("12 元", False),
        ("-", False),
        ("AB-20240217-000123", False),
        ("1 " * 40, False),
        ("", False),
    ],
)
def test_numbers_and_dates_in_tables_are_kept_on_one_line(cell: str, kept_on_one_line: bool) -> None:
    message = message_with_references(f"|a|b|\n|-|-:|\n|{cell}|{cell}|")

    html = render_text_html(message)

    class_name = ' class="ba-nowrap"' if kept_on_one_line else ""
    assert re.findall(r"<td(.*?)>", html) == [class_name, f' style="text-align:right"{class_name}']
    check_html(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "茶是叶子。`f(a, b, c, d, e)`",
            ("思考过程", "暂无结果", "来源", "第 3 页 · 相关度 0.50", "打开 ↗", "请求 r"),
        ),
        (
            "According to 茶书, tea is made of leaves.",
            ("Reasoning", "no result yet", "Sources", "p. 3 · score 0.50", "open ↗", "request r"),
        ),
    ],
)
def test_labels_are_in_the_language_of_the_answer(text: str, expected: tuple[str, ...]) -> None:
    extras = {"page_number": [3], "score": 0.5}
    note = {"type": "citation", "title": "T", "url": "http://a", "extras": extras}
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": "Über 茶"},
            {"type": "server_tool_call", "id": "1", "name": "f", "args": {}},
            {"type": "text", "text": text, "annotations": [note]},
        ],
        response_metadata={"output_version": "v1", "request_id": "r"},
    )

    html, plain_text = render_body_html(message), str(AnswerView(message))

    assert all(label in html for label in expected)
    assert all(label in plain_text for label in expected if "↗" not in label)


def test_the_html_has_the_parts_in_order_then_the_sources_and_the_usage() -> None:
    note = {"type": "citation", "title": "茶书", "cited_text": "原文"}
    content: list[Any] = [
        {"type": "reasoning", "reasoning": "想"},
        {"type": "reasoning", "reasoning": "再想"},
        {"type": "text", "text": "茶", "annotations": [note]},
        {"type": "reasoning", "reasoning": "后想"},
    ]
    metadata = {"output_version": "v1", "model_name": "qwen", "request_id": "r"}

    def render_details(text: str, label: str = "思考过程", anchor: str = "") -> str:
        pre = f'{anchor}<div class="ba-pre" dir="auto">{text}</div>'
        return f'<details><summary>{label}</summary><div class="ba-fold">{pre}</div></details>'

    anchor = '<a name="ba-id-1"></a>'
    source = '<span class="ba-number">[1]</span> 茶书 <span class="ba-dim"></span> '
    link = '<a href="#ba-id-1" title="茶书&#10;原文">[1]</a>'
    assert render_body_html(AIMessage(content, response_metadata=metadata)).split("\n") == [
        '<ul class="ba-trail">',
        f'<li class="ba-thought">{render_details("想")}</li>',
        f'<li class="ba-thought">{render_details("再想")}</li>',
        "</ul>",
        f'<div class="ba-text" dir="auto"><p>茶<sup>{link}</sup></p>',
        "</div>",
        '<ul class="ba-trail">',
        f'<li class="ba-thought">{render_details("后想")}</li>',
        "</ul>",
        '<div class="ba-sources"><b>来源</b>',
        '<ul class="ba-list">',
        f"<li>{render_details('原文', source, anchor)}</li>",
        "</ul>",
        "</div>",
        '<div class="ba-usage ba-dim">qwen · 请求 r</div>',
        "</div>",
    ]


ARGUMENT_HTML = '<span class="ba-arg"><span class="ba-dim">{}</span> {}</span>'


@pytest.mark.parametrize(
    ("result", "kind", "html"),
    [
        (None, "step", '<div class="ba-dim">no result yet</div>'),
        ({"output": "晴"}, "step", ("Result", '<div class="ba-pre" dir="auto">晴</div>')),
        (
            {"output": "无", "status": "error"},
            "failed",
            ("Failed", '<div class="ba-pre" dir="auto">无</div>'),
        ),
        ({"output": None, "status": "error"}, "failed", "<div>Failed</div>"),
        ({"output": None}, "step", ""),
    ],
)
def test_a_step_shows_its_arguments_and_its_result(
    result: dict[str, Any] | None, kind: str, html: str | tuple[str, str]
) -> None:
    call = {"type": "server_tool_call", "id": "1", "name": "天气", "args": {"城市": "杭州", "n": 2}}
    results = [] if result is None else [{"type": "server_tool_result", "tool_call_id": "1"} | result]
    if isinstance(html, tuple):
        label, fold = html
        html = f'<details><summary>{label}</summary><div class="ba-fold">{fold}</div></details>'

    body = render_body_html(AIMessage([call, *results], response_metadata={"output_version": "v1"}))

    arguments = ARGUMENT_HTML.format("城市", "杭州") + ARGUMENT_HTML.format("n", "2")
    assert body == (
        f'<ul class="ba-trail">\n<li class="ba-{kind}"><b>天气</b>{arguments}{html}</li>\n</ul>\n</div>'
    )


def test_hits_are_listed_briefly_with_links_to_the_document_and_its_images() -> None:
    hit = {"content": "【文档名】:茶书\n【正文】:茶\n叶"}
    metadata = {"title": "第一章", "referenceIndex": 4, "score": 0.5, "webSearchUrl": "http://a"}
    images = {"images": ["http://b", "file:c", "http://d"]}

    def render_link(url: str, label: str) -> str:
        return f'<a href="{url}" title="{url}" target="_blank" rel="noopener noreferrer">{label} ↗</a>'

    def render_hits(*hits: dict[str, Any]) -> str:
        step = {"type": "server_tool_result", "tool_call_id": "1", "output": list(hits)}
        return render_body_html(AIMessage([step], response_metadata={"output_version": "v1"}))

    short_item = '<li>茶书 <span class="ba-dim"></span> <div class="ba-dim">茶 叶</div></li>'
    links = " ".join(
        [
            render_link("http://a", "open"),
            render_link("http://b", "image 1"),
            "file:c",
            render_link("http://d", "image 3"),
        ]
    )
    long_item = (
        '<li><span class="ba-number">[4]</span> 第一章 <span class="ba-dim">茶书 · score 0.50</span> '
        f'{links}<div class="ba-dim">茶 叶</div></li>'
    )
    fold = '<summary>{}</summary><div class="ba-fold"><ul class="ba-list">{}</ul></div>'
    assert fold.format("1 hit", short_item) in render_hits(hit)
    assert fold.format("2 hits", long_item + short_item) in render_hits(hit | metadata | images, hit)


def test_equal_answers_have_equal_html_and_different_answers_different_anchors() -> None:
    answer, equal_answer, other_answer = (
        message_with_references(f"{tea}<ref>[1]</ref>") for tea in ("绿茶", "绿茶", "红茶")
    )

    assert AnswerView(answer)._repr_html_() == AnswerView(equal_answer)._repr_html_()
    assert not set(check_html(answer).names) & set(check_html(other_answer).names)


def test_images_are_links() -> None:
    html = render_text_html(
        message_with_references(
            "![茶](https://example.com/x.png) [![a](http://b)](http://c) ![](http://d)"
        )
    )

    assert html == (
        '<p><a href="https://example.com/x.png" target="_blank" rel="noopener noreferrer">茶</a>'
        ' <a href="http://c" target="_blank" rel="noopener noreferrer">a (http://b)</a>'
        ' <a href="http://d" target="_blank" rel="noopener noreferrer">image</a></p>'
    )


PICTURE_HOST = "docmind-api-cn-hangzhou.oss-cn-hangzhou.aliyuncs.com"
PICTURE_URL = (
    f"https://{PICTURE_HOST}/docs/7/1.png?Expires=1764500000&OSSAccessKeyId=STS.Nexample"
    "&Signature=c2lnbmF0dXJl%3D&security-token=dG9rZW4%2F"
)
IMAGE_HTML = (
    '<img src="{}" alt="{}" loading="lazy" referrerpolicy="no-referrer" '
    'style="max-width:100%;max-height:30em">'
)
NEW_TAB = 'target="_blank" rel="noopener noreferrer"'


def test_pictures_of_the_service_are_shown_on_request_only() -> None:
    url = PICTURE_URL.replace("&", "&amp;")
    message = message_with_references(f'![图"1"]({PICTURE_URL})<ref>[1]</ref>')

    links = render_text_html(message)
    images = render_text_html(message, show_images=True)

    assert links == f'<p><a href="{url}" {NEW_TAB}>图&quot;1&quot;</a>{{[1]}}</p>'
    image = IMAGE_HTML.format(url, "图&quot;1&quot;")
    assert images == f'<p><a href="{url}" {NEW_TAB}>{image}</a>{{[1]}}</p>'
    assert check_html(message, show_images=True).images == [PICTURE_URL]


def test_a_picture_in_a_link_is_shown_in_this_link() -> None:
    message = message_with_references(f"[![图](https://{PICTURE_HOST}/a.png)](https://example.com)")

    html = render_text_html(message, show_images=True)

    image = IMAGE_HTML.format(f"https://{PICTURE_HOST}/a.png", "图")
    assert html == f'<p><a href="https://example.com" {NEW_TAB}>{image}</a></p>'


@pytest.mark.parametrize(
    "url",
    [
        f"http://{PICTURE_HOST}/a.png",
        f"//{PICTURE_HOST}/a.png",
        f"ftp://{PICTURE_HOST}/a.png",
        f"https://{PICTURE_HOST}",
        f"https://{PICTURE_HOST}?a.png",
        f"https://{PICTURE_HOST}#/a.png",
        f"https://{PICTURE_HOST}:443/a.png",
        f"https://{PICTURE_HOST}./a.png",
        f"https://{PICTURE_HOST}.evil.example/a.png",
        f"https://evil-{PICTURE_HOST}/a.png",
        f"https://{PICTURE_HOST}@evil.example/a.png",
        f"https://{PICTURE_HOST}:x@evil.example/a.png",
        f"https://evil.example/@{PICTURE_HOST}/a.png",
        f"https://evil.example/a.png?https://{PICTURE_HOST}/",
        f"https://evil.example#{PICTURE_HOST}/a.png",
        f"https://evil.example\\{PICTURE_HOST}/a.png",
        f"https://evil.example\\@{PICTURE_HOST}/a.png",
        f"https:/\\{PICTURE_HOST}/a.png",
        f"https:///{PICTURE_HOST}/a.png",
        f"https://evil.example%2f.{PICTURE_HOST}/a.png",
        f"https://{PICTURE_HOST}\u3002evil.example/a.png",
        f"https://{PICTURE_HOST}\uff0fa.png",
        "https://bucket-of-a-customer.oss-cn-hangzhou.aliyuncs.com/a.png",
        "https://bailian-other.oss-cn-hangzhou.aliyuncs.com/a.png",
        "https://dashscope-result-evil.oss-cn-beijing.aliyuncs.com/a.png",
        "https://docmind-api-cn-hangzhou.oss-cn-beijing.aliyuncs.com/a.png",
        "https://dashscope.aliyuncs.com/a.png",
        "https://aliyuncs.com/a.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "javascript:alert(1)",
        "file:///a.png",
        "a.png",
    ],
)
@pytest.mark.parametrize("template", ["![x]({})", "![x](<{}>)", "[![x]({})](https://example.com)"])
def test_no_other_picture_is_ever_loaded(url: str, template: str) -> None:
    message = AIMessage(template.format(url))

    options = {"show_images": True, "image_hosts": ["pictures.example"]}

    assert check_html(message, **options).images == []
    assert AnswerView(message, **options)._repr_html_() == AnswerView(message)._repr_html_()


def test_pictures_of_further_hosts_are_shown_if_listed() -> None:
    message = AIMessage("![a](https://Pictures.example/a.png) ![b](https://other.example/b.png)")

    def find_images(**options: Any) -> list[str]:
        return check_html(message, **options).images

    assert len(find_images(show_images=True, image_hosts=["pictures.EXAMPLE"])) == 1
    assert len(find_images(show_images=True, image_hosts="other.example")) == 1
    assert find_images(show_images=False, image_hosts=["pictures.example"]) == []
    assert find_images(show_images=True, image_hosts=["example"]) == []


@pytest.mark.parametrize(
    "host", ["", "https://a.example", "a.example/", "a.example:443", "*.example", "a b", ".", 5]
)
def test_an_image_host_is_a_plain_host_name(host: Any) -> None:
    with pytest.raises(ValueError, match="invalid `image_hosts`: expected host names"):
        AnswerView(AIMessage("茶"), show_images=True, image_hosts=[host])


def test_pictures_of_sources_and_other_blocks_stay_links() -> None:
    note = {"type": "citation", "title": "茶", "extras": {"images": [PICTURE_URL]}}
    message = AIMessage(
        [
            {"type": "reasoning", "reasoning": f"![想]({PICTURE_URL})"},
            {"type": "image", "url": PICTURE_URL},
            {"type": "text", "text": "茶", "annotations": [note]},
        ],
        response_metadata={"output_version": "v1"},
    )

    assert check_html(message, show_images=True).images == []


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_cannot_escape_from_a_picture(hostile: str) -> None:
    text = f"![{hostile}](https://{PICTURE_HOST}/a.png) ![b](<https://{PICTURE_HOST}/{hostile}>)"

    checker = check_html(AIMessage(text), show_images=True)

    assert all(url.startswith(f"https://{PICTURE_HOST}/") for url in checker.images)


@pytest.mark.slow
@given(strings, strings, strings)
def test_any_picture_is_well_formed(alt: str, path: str, after: str) -> None:
    picture = f"![{alt}](https://{PICTURE_HOST}/{path})"
    message = message_with_references(f"茶{picture}<ref>[1]</ref>{after}")

    checker = check_html(message, show_images=True)

    assert all(url.startswith(f"https://{PICTURE_HOST}/") for url in checker.images)
    assert any(link.endswith("-1") for link in checker.links if link.startswith("#"))


@pytest.mark.parametrize(
    "url",
    ["javascript:x", "data:x", "file:///x", "//e.com", "/x", "#x", "x", "http://a b", "http:///\n"],
)
def test_other_urls_are_not_links(url: str) -> None:
    note = {"type": "citation", "url": url, "extras": {"images": [url], "reference_index": 1}}
    block = {"type": "text", "text": f"[x]({url}) ![y]({url})", "annotations": [note]}

    checker = check_html(AIMessage([block]))

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

    # 1 in reasoning, 4 + 3 in steps, 3 in a hit, 3 + 1 in other blocks, 1 in text, 7 in the source,
    # 6 in usage
    assert check_html(message).all_text.count("lotus") >= 29


@pytest.mark.slow
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

    checker = check_html(message)

    cited = {f"-{number}" for _, number in pieces}
    assert {link[link.rindex("-") :] for link in checker.links if link[0] == "#"} == cited


@pytest.mark.slow
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

    assert "茶" in check_html(message).text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", str(AnswerView(message)))


@given(st.lists(st.fixed_dictionaries({"type": strings}, optional={"id": values, "text": values})))
def test_any_list_of_blocks_can_be_shown(blocks: list[Any]) -> None:
    check_html(AIMessage(blocks, response_metadata={"output_version": "v1"}))


def test_many_citations_after_markup_are_placed_correctly() -> None:
    text = "".join(
        f"**茶{n}。**<ref>[1]</ref>\n\n- |\n\n```\nx\n```\n<ref>[2]</ref>\n" for n in range(40)
    )
    html = render_text_html(message_with_references(text))

    assert html.count("。{[1]}</strong>") == 40
    assert html.count("x{[2]}\n</code>") == 40


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("茶\n水", "<p>茶<br />\n水</p>"),
        ("~~茶~~", "<p><s>茶</s></p>"),
        ("[茶]: https://e.com", "<p>[茶]: https://e.com</p>"),
        ("<b>茶</b>", "<p>&lt;b&gt;茶&lt;/b&gt;</p>"),
    ],
)
def test_common_model_markdown_is_rendered(text: str, html: str) -> None:
    assert render_text_html(message_with_references(text)) == html
