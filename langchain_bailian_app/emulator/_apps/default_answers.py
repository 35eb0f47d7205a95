"""Default answers of apps without a script: sentences from the documents, or an echo.

No model is involved, and every answer mentions that. Pure: takes a `Turn`, returns a `Reply`.
"""

import re
from collections.abc import Iterable

from langchain_bailian_app.emulator._apps.phrases import Phrases, select_phrases
from langchain_bailian_app.emulator._apps.prompted_output import build_prompted_output
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit
from langchain_bailian_app.emulator._state.memories import extract_facts
from langchain_bailian_app.emulator.text import is_chinese, split_sentences, split_words

_ASKS_ABOUT_USER = re.compile(
    r"我叫什么|我的名字|我是谁|我喜欢什么|who am i|my name\b(?! is)|what do i like", re.IGNORECASE
)
_MAX_CITED_HITS = 3
_MIN_RELATIVE_SCORE = 0.75
_TRAILING_PUNCTUATION = "。！？!?；;. \n"
_MAX_QUOTE_CHARS = 2000


def default_reply(turn: Turn, *, cite: bool) -> Reply:
    """Return an answer in the format that the request demands, from search hits, or as an echo."""
    if (prompted_text := build_prompted_output(turn)) is not None:
        return Reply(prompted_text)
    phrases = select_phrases(turn.prompt)
    body = _quote_hits(turn, phrases, cite=cite) if turn.searched else _echo_prompt(turn, phrases)
    return Reply("".join([phrases.prefix, *body, *_describe_context(turn, phrases)]).rstrip(" "))


def default_reasoning(turn: Turn) -> str:
    """Return the default reasoning for a turn, in the language of the question."""
    return "".join(_reason(turn, select_phrases(turn.prompt)))


def _reason(turn: Turn, phrases: Phrases) -> Iterable[str]:
    yield phrases.question.format(prompt=_truncate(turn.prompt))
    if turn.history:
        yield phrases.round.format(number=len(turn.history) + 1)
    if turn.searched:
        yield phrases.hit_count.format(count=len(turn.hits))
        for hit in turn.hits:
            yield phrases.hit.format(number=hit.index, title=hit.chunk.title or hit.chunk.name)
    yield phrases.reasoning_end


def _quote_hits(turn: Turn, phrases: Phrases, *, cite: bool) -> Iterable[str]:
    if not turn.hits:
        yield phrases.no_hits.format(prompt=_truncate(turn.prompt))
        return
    query_words = set(split_words(turn.prompt))
    best_score = turn.hits[0].score
    cited_hits = [
        hit for hit in turn.hits[:_MAX_CITED_HITS] if hit.score >= best_score * _MIN_RELATIVE_SCORE
    ]
    for hit in cited_hits:
        count = 2 if hit is turn.hits[0] else 1
        for sentence in _select_sentences(hit, query_words, count, chinese=is_chinese(turn.prompt)):
            marker = f"<ref>[{hit.index}]</ref>" if cite else ""
            # In the recordings, a marker precedes the punctuation mark.
            yield f"{sentence.rstrip(_TRAILING_PUNCTUATION)}{marker}{phrases.full_stop}"


def _select_sentences(hit: Hit, query_words: set[str], count: int, *, chinese: bool) -> list[str]:
    """Return the sentences that share the most words with the question, in their original order.

    Sentences that share none are left out, unless all do.
    """
    sentences = split_sentences(hit.chunk.body)
    candidates = [s for s in sentences if is_chinese(s) == chinese] or sentences
    shared_counts = {s: len(query_words & set(split_words(s))) for s in candidates}
    related = [s for s in candidates if shared_counts[s]] or candidates
    best = sorted(related, key=lambda s: -shared_counts[s])[:count]
    return [sentence for sentence in related if sentence in best]


def _echo_prompt(turn: Turn, phrases: Phrases) -> Iterable[str]:
    yield phrases.echo.format(prompt=_truncate(turn.prompt))
    if turn.history:
        previous = _truncate(turn.history[-1].prompt)
        yield phrases.previous.format(previous=previous, count=len(turn.history))
    yield phrases.no_model


def _describe_context(turn: Turn, phrases: Phrases) -> Iterable[str]:
    """Describe what else the turn contains: facts, memories, attachments and the system prompt."""
    if _ASKS_ABOUT_USER.search(turn.prompt):
        session_facts = [
            fact for r in turn.history for fact in extract_facts(r.prompt, second_person=True)
        ]
        if session_facts:
            yield phrases.session_facts.format(facts="".join(session_facts))
    if turn.memories:
        memory_facts = "".join(memory.partition("] ")[2] for memory in turn.memories)
        yield phrases.memories.format(facts=memory_facts)
    if turn.images or turn.files:
        yield phrases.attachments.format(images=len(turn.images), files=len(turn.files))
    if turn.system and "<tools>" not in turn.system:  # a client would parse its examples as calls
        yield phrases.system_prompt.format(system=_truncate(turn.system))


def _truncate(text: str) -> str:
    return text if len(text) <= _MAX_QUOTE_CHARS else text[:_MAX_QUOTE_CHARS] + "…"
