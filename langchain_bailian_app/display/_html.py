"""HTML of an answer, which escapes everything from the service and loads nothing external by default.

On request, it loads images of trusted hosts. The HTML has no scripts, fixed text colors or fixed
background, so that it suits light and dark notebooks.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from html import escape
from typing import TYPE_CHECKING, assert_never

from langchain_bailian_app.display._citation_placement import (
    NEW_TAB,
    PLACEHOLDER,
    insert_placeholders,
    is_web_url,
    make_markdown_parser,
    place_citations,
)
from langchain_bailian_app.display._parts import AnswerParts, GenericBlock, Reasoning, Step, Text
from langchain_bailian_app.display._sources import Source, make_excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_bailian_app.display._labels import Labels

_SHADE, _LINE = "rgba(127,127,127,.1)", "rgba(127,127,127,.3)"
_ACCENT = "var(--jp-content-link-color,var(--vscode-textLink-foreground,#2f7de1))"
_STYLE = f"""
.bailian-answer{{max-width:54em;line-height:1.65;overflow-wrap:anywhere}}
.bailian-answer a{{color:{_ACCENT};text-decoration:none}}
.bailian-answer a:hover{{text-decoration:underline}}
.bailian-answer summary{{cursor:pointer}}
.bailian-answer sup{{white-space:nowrap;line-height:0;font-size:.75em;margin-left:.1em}}
.bailian-answer .ba-pre{{white-space:pre-wrap}}
.bailian-answer .ba-dim{{opacity:.65}}
.bailian-answer ul.ba-trail,.bailian-answer ul.ba-list{{list-style:none;margin:0;padding:0}}
.bailian-answer ul.ba-trail{{font-size:.9em;margin:.4em 0 1em 5px;border-left:2px solid {_LINE}}}
.bailian-answer .ba-trail>li{{position:relative;margin:0;padding:.2em 0 .2em 1.1em}}
.bailian-answer .ba-trail>li::before{{content:"";position:absolute;left:-5px;top:.8em;
width:8px;height:8px;border-radius:50%;background:{_ACCENT}}}
.bailian-answer .ba-arg{{display:inline-block;background:{_SHADE};border-radius:4px;padding:0 .5em;
margin:.1em 0 .1em .5em;max-height:8em;overflow:auto;vertical-align:middle;white-space:pre-wrap}}
.bailian-answer .ba-trail>.ba-thought::before{{background:#999}}
.bailian-answer .ba-trail>.ba-failed::before{{background:#d9534f}}
.bailian-answer .ba-fold{{background:{_SHADE};border-radius:4px;margin:.3em 0;padding:.5em .8em;
max-height:24em;overflow:auto}}
.bailian-answer .ba-list>li{{margin:0;padding:.2em .4em;border-radius:4px}}
.bailian-answer .ba-list>li:has(:target){{background:{_SHADE};outline:1px solid {_ACCENT};
outline-offset:-1px}}
.bailian-answer .ba-list a[name]{{scroll-margin-top:6em}}
.bailian-answer .ba-number{{color:{_ACCENT};font-variant-numeric:tabular-nums}}
.bailian-answer .ba-sources{{border-top:1px solid {_LINE};margin-top:1.2em;
padding-top:.6em;font-size:.9em}}
.bailian-answer .ba-usage{{border-top:1px solid {_LINE};margin-top:.8em;
padding-top:.4em;font-size:.8em}}
.bailian-answer .ba-text pre{{background:{_SHADE};border-radius:4px;padding:.6em .8em;overflow:auto}}
.bailian-answer .ba-text code{{background:{_SHADE};border-radius:3px;padding:.1em .3em;color:inherit}}
.bailian-answer .ba-text pre code{{background:none;padding:0}}
.bailian-answer .ba-text table{{border-collapse:collapse;display:block;width:max-content;
max-width:100%;overflow-x:auto;margin:.8em 0}}
.bailian-answer .ba-text th,.bailian-answer .ba-text td{{border:1px solid {_LINE};padding:.3em .8em;
text-align:start;overflow-wrap:normal;min-width:4em;max-width:24em}}
.bailian-answer .ba-text td.ba-nowrap{{white-space:nowrap}}
.bailian-answer .ba-text blockquote{{border-left:3px solid {_LINE};margin:.6em 0;
padding:0 1em;opacity:.85}}
.bailian-answer .ba-text :is(h1,h2,h3,h4,h5,h6){{font-size:1.1em;margin:1em 0 .4em}}
"""


def render_html(answer: AnswerParts, image_hosts: frozenset[str] = frozenset()) -> str:
    """Return the HTML of an answer. It is deterministic, so that saved notebooks do not change.

    Args:
        answer: Parts of the answer.
        image_hosts: Hosts whose https images in the text are shown. Others are links.
    """
    id_prefix = f"ba-{hashlib.blake2s(repr(answer).encode(), digest_size=5).hexdigest()}"
    labels = answer.labels
    tooltips = {source.number: _make_tooltip(source) for source in answer.sources}
    # The classes disable MathJax, which would render the text between two dollar signs as a formula.
    html = ['<div class="bailian-answer mathjax_ignore tex2jax_ignore">']
    for _, group in itertools.groupby(answer.parts, lambda part: isinstance(part, Text)):
        parts = list(group)
        html += [
            _render_text(part, id_prefix, tooltips, image_hosts)
            for part in parts
            if isinstance(part, Text)
        ]
        html += _render_list(
            "ba-trail",
            [_render_trail_item(part, labels) for part in parts if not isinstance(part, Text)],
        )
    if answer.sources:
        entries = [
            _render_source(source, labels, f"{id_prefix}-{source.number}") for source in answer.sources
        ]
        heading = f'<div class="ba-sources"><b>{labels.sources}</b>'
        html += [heading, *_render_list("ba-list", entries), "</div>"]
    if answer.usage:
        html.append(f'<div class="ba-usage ba-dim">{escape(" · ".join(answer.usage))}</div>')
    # The style is last, because exports to other formats show it as text.
    return "\n".join([*html, f"<style>{_STYLE}</style></div>"])


def _render_text(
    text: Text, id_prefix: str, tooltips: dict[int | None, str], image_hosts: frozenset[str]
) -> str:
    def render_citations(numbers: Iterable[int]) -> str:
        return "".join(
            f'<sup><a href="#{id_prefix}-{n}" title="{tooltips[n]}">[{n}]</a></sup>' for n in numbers
        )

    render: Callable[[str], str]
    try:
        render = make_markdown_parser(image_hosts).render
        citations, unplaced = place_citations(text, render)
    except Exception:  # noqa: BLE001  # markdown-it-py is missing or fails: show plain text
        render, citations, unplaced = _render_preformatted, text.citations, []
    groups = iter(citations.values())
    html = re.sub(
        PLACEHOLDER,
        lambda _: render_citations(next(groups)),
        render(insert_placeholders(text.markdown, citations)),
    )
    below = render_citations(unplaced) and f"<p>{render_citations(unplaced)}</p>"
    return f'<div class="ba-text" dir="auto">{html}{below}</div>'


def _make_tooltip(source: Source) -> str:
    """Return the value of a `title` attribute: the title and an excerpt of a source."""
    lines = [source.title, make_excerpt(source.text)]
    return "&#10;".join(escape(line) for line in lines if line)


def _render_trail_item(part: Reasoning | Step | GenericBlock, labels: Labels) -> str:
    match part:
        case Reasoning():
            details = _render_details(labels.reasoning, _render_preformatted(part.text))
            return f'<li class="ba-thought">{details}</li>'
        case Step():
            class_name = "ba-failed" if part.failed else "ba-step"
            return f'<li class="{class_name}">{_render_step(part, labels)}</li>'
        case GenericBlock():
            return f"<li>{_render_details(escape(part.kind), _render_preformatted(part.text))}</li>"
        case _:
            assert_never(part)


def _render_step(step: Step, labels: Labels) -> str:
    args = "".join(
        f'<span class="ba-arg"><span class="ba-dim">{escape(name)}</span> {escape(value)}</span>'
        for name, value in step.args
    )
    if not step.done:
        result = f'<div class="ba-dim">{labels.no_result}</div>'
    elif step.hits:
        label = labels.one_hit if len(step.hits) == 1 else labels.hits.format(len(step.hits))
        entries = [_render_source(hit, labels) for hit in step.hits]
        result = _render_details(label, "".join(_render_list("ba-list", entries)))
    elif step.result or step.failed:
        label = labels.failed if step.failed else labels.result
        result = _render_details(label, _render_preformatted(step.result))
    else:
        result = ""
    return f"<b>{escape(step.name)}</b>{args}{result}"


def _render_source(source: Source, labels: Labels, anchor_name: str | None = None) -> str:
    """Return an expandable list item with this anchor, or a short item for a hit if it is None.

    Browsers open the element that contains the target of a link. JupyterLab prevents this by scrolling
    to the `id` itself, but it leaves links to an `<a name>` to the browser.
    """
    number = "" if source.number is None else f'<span class="ba-number">[{source.number}]</span> '
    details = f'<span class="ba-dim">{escape(" · ".join(source.details))}</span>'
    links = [
        (source.url, labels.open),
        *((url, labels.image.format(number)) for number, url in enumerate(source.images, start=1)),
        *((url, labels.video.format(number)) for number, url in enumerate(source.videos, start=1)),
    ]
    link_html = " ".join(_render_link(url, label) for url, label in links if url)
    head = f"{number}{escape(source.title)} {details} {link_html}"
    if anchor_name is None:
        return f'<li>{head}<div class="ba-dim">{escape(make_excerpt(source.text))}</div></li>'
    anchor = f'<a name="{anchor_name}"></a>'
    if not source.text:
        return f"<li>{anchor}{_render_details(head, '')}</li>"
    return f"<li>{_render_details(head, anchor + _render_preformatted(source.text))}</li>"


def _render_link(url: str, label: str) -> str:
    if not is_web_url(url):
        return escape(url)
    return f'<a href="{escape(url)}" title="{escape(url)}" {NEW_TAB}>{label} ↗</a>'


def _render_details(label: str, body: str) -> str:
    """Return an expandable element, or only the label if the body is empty."""
    if not body:
        return f"<div>{label}</div>"
    return f'<details><summary>{label}</summary><div class="ba-fold">{body}</div></details>'


def _render_preformatted(text: str) -> str:
    return text and f'<div class="ba-pre" dir="auto">{escape(text)}</div>'


def _render_list(class_name: str, items: list[str]) -> list[str]:
    return [f'<ul class="{class_name}">', *items, "</ul>"] if items else []
