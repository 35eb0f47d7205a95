"""Labels around an answer, in the language of the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|<[^<>\n]*>|https?://\S+", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_CHINESE_CHARACTER = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels in one language. Those with `{}` are templates for `str.format`."""

    reasoning: str
    step: str
    """Name of a call without a name."""

    result: str
    failed: str
    no_result: str
    one_hit: str
    hits: str
    unreadable: str
    more_chars: str
    sources: str
    untitled: str
    pages: str
    score: str
    open: str
    image: str
    video: str
    usage: str
    tokens: str
    finish_reason: str
    reject_status: str
    request: str


ENGLISH = Labels(
    reasoning="Reasoning",
    step="step",
    result="Result",
    failed="Failed",
    no_result="no result yet",
    one_hit="1 hit",
    hits="{} hits",
    unreadable="unreadable",
    more_chars="… ({:,} more characters)",
    sources="Sources",
    untitled="untitled",
    pages="p. {}",
    score="score {}",
    open="open",
    image="image {}",
    video="video {}",
    usage="Usage",
    tokens="{} tokens in, {} out",
    finish_reason="finish reason: {}",
    reject_status="reject status: true",
    request="request {}",
)
CHINESE = Labels(
    reasoning="思考过程",
    step="步骤",
    result="结果",
    failed="失败",
    no_result="暂无结果",
    one_hit="1 条结果",
    hits="{} 条结果",
    unreadable="无法解析",
    more_chars="……（另有 {:,} 个字符）",
    sources="来源",
    untitled="无标题",
    pages="第 {} 页",
    score="相关度 {}",
    open="打开",
    image="图片 {}",
    video="视频 {}",
    usage="用量",
    tokens="输入 {} Token，输出 {} Token",
    finish_reason="结束原因：{}",
    reject_status="已拒答",
    request="请求 {}",
)


def find_labels(text: str) -> Labels:
    """Return the Chinese labels if a text has more Chinese characters than other words.

    A few names in the other language make no difference, nor do code and addresses.
    """
    other_text, chinese_count = _CHINESE_CHARACTER.subn(" ", _NOT_PROSE.sub(" ", text))
    return CHINESE if chinese_count > len(_WORD.findall(other_text)) else ENGLISH
