"""Messages to display, and hostile strings that try to break out of their HTML or terminal output."""

from typing import Any

from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from langchain_bailian_app._answer.citations import MarkerMode
from langchain_bailian_app.chat_models._messages import message_from_answer
from tests.fixtures import encode_sse, frame_body, parse_answer, read_recording

V1 = {"output_version": "v1"}
CALL = {"type": "server_tool_call", "id": "1", "name": "天气", "args": {"城市": "杭州", "n": 2}}
HIT = {"content": "【文档名】:茶书\n【正文】:茶\n 叶", "referenceIndex": 4, "score": 0.756}
# Each contains the word "lotus", which must not get lost.
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


def recorded_message(name: str, markers: MarkerMode = "strip") -> AIMessage:
    return message_from_answer(parse_answer(read_recording(name), markers=markers), "app", {})


def make_message(*content: Any, **metadata: Any) -> AIMessage:
    return AIMessage(list(content), response_metadata=V1 | metadata)


def tool_result(output: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "server_tool_result", "tool_call_id": "1", "output": output, **fields}


def message_with_references(
    text: str, markers: MarkerMode = "strip", numbers: str = "1234"
) -> AIMessage:
    references = [
        {"index_id": number, "title": f"第{number}章", "doc_name": "茶书", "text": f"原文{number}"}
        for number in numbers
    ]
    data = encode_sse(frame_body(text, finish_reason="stop", doc_references=references))
    return message_from_answer(parse_answer(data, markers=markers), "app", {})
