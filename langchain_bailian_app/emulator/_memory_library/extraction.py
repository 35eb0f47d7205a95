"""Extraction of facts and profile values from messages, with patterns instead of a model.

Pure functions. Sentences of the user are facts if they are in the first person and not questions.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from langchain_bailian_app.emulator._state.memories import extract_facts
from langchain_bailian_app.emulator.text import split_sentences, split_words

_QUESTION = re.compile(r"[?？]|什么|啥|谁|哪|吗|多少|怎么")
_FIRST_PERSON = re.compile(r"我|\b(?:i|my|me)\b", re.IGNORECASE)
_NO_LONGER_LIKES = re.compile(r"我(?:不再|已经不|不)喜欢([^，。！？,.!?\n]{1,40}?)了?[，。！!]?$")
_NAMES = (re.compile(r"用户叫.+"), re.compile(r"The user's name is .+"))
_NAME_ATTRIBUTES = frozenset({"姓名", "名字", "name"})
_STATED_NAME = re.compile(r"我叫([^，。！？、,.!?\s]{1,20})|\bmy name is (\w{1,30})", re.IGNORECASE)
_BASE_SCORE = 0.3


class FactChanges(NamedTuple):
    """What a conversation changes in the facts about a user."""

    added: list[str]
    replaced: dict[str, str]
    """Old fact → new fact."""

    deleted: list[str]


def read_user_sentences(messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sentences of the user that are not questions."""
    return [
        sentence
        for message in messages
        if message.get("role") == "user"
        for sentence in split_sentences(read_text(message.get("content")))
        if not _QUESTION.search(sentence)
    ]


def read_text(content: Any) -> str:
    """Return the text of a message, from a string or from its text parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def extract_changes(messages: Sequence[Mapping[str, Any]], known_facts: Sequence[str]) -> FactChanges:
    """Return what the messages change in the known facts."""
    changes = FactChanges([], {}, [])
    for sentence in read_user_sentences(messages):
        if match := _NO_LONGER_LIKES.search(sentence):
            fact = f"用户喜欢{match[1]}。"
            changes.deleted.extend(known for known in known_facts if known == fact)
            continue
        facts = extract_facts(sentence)
        if not facts and _FIRST_PERSON.search(sentence):
            facts = [sentence]
        for fact in facts:
            if fact in known_facts or fact in changes.added or fact in changes.replaced.values():
                continue
            older = _find_older_name(fact, known_facts)
            if older is None:
                changes.added.append(fact)
            else:
                changes.replaced[older] = fact
    return changes


def _find_older_name(fact: str, known_facts: Sequence[str]) -> str | None:
    """Return the known name of the user if the fact is another one."""
    patterns = [pattern for pattern in _NAMES if pattern.fullmatch(fact)]
    return next((known for known in known_facts for p in patterns if p.fullmatch(known)), None)


def extract_value(messages: Sequence[Mapping[str, Any]], attribute_name: str) -> str | None:
    """Return the value of an attribute that the user states, such as “我的爱好是爬山”, or None."""
    name = re.escape(attribute_name)
    pattern = re.compile(
        rf"我的{name}(?:是|为)([^，。！？,.!?\n]{{1,40}})|\bmy {name} is ([^,.!?\n]{{1,40}})",
        re.IGNORECASE,
    )
    for sentence in read_user_sentences(messages):
        match = pattern.search(sentence)
        if match is None and attribute_name.lower() in _NAME_ATTRIBUTES:
            match = _STATED_NAME.search(sentence)
        if match is not None:
            return str(match[1] or match[2]).strip()
    return None


def score_similarity(query: str, content: str) -> float:
    """Return the similarity of a query and a node, from 0.3 to 1, by the words that both contain.

    The service compares meanings. Here, a node without a common word still has the default minimum
    score, so that a search finds it after the others.
    """
    query_words, words = set(split_words(query)), set(split_words(content))
    shared = len(query_words & words) / (min(len(query_words), len(words)) or 1)
    return round(_BASE_SCORE + (1 - _BASE_SCORE) * shared, 3)
