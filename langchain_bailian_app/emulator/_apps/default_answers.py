"""What an app without a script says: sentences from its documents, or an echo.

No model is involved, and every answer says so. Pure: a `Turn` in, a `Reply` out.
"""

import re
from collections.abc import Iterable

from langchain_bailian_app.emulator._apps.phrases import Phrases, phrases_for
from langchain_bailian_app.emulator._apps.prompted_output import obedient_text
from langchain_bailian_app.emulator._apps.turn import Reply, Turn
from langchain_bailian_app.emulator._knowledge.knowledge_base import Hit
from langchain_bailian_app.emulator._state.memories import facts_in
from langchain_bailian_app.emulator.text import is_chinese, sentences, words

_ASKS_ABOUT_USER = re.compile(
    r"我叫什么|我的名字|我是谁|我喜欢什么|who am i|my name\b(?! is)|what do i like", re.IGNORECASE
)
_CITED_HITS = 3
_WORTH_CITING = 0.75
_SENTENCE_MARKS = "。！？!?；;. \n"
_LONGEST_QUOTE = 2000


def usual_reply(turn: Turn, *, cites: bool) -> Reply:
    """Answer in the form that is demanded, else from the hits if there was a search, else echo."""
    if (obedient := obedient_text(turn)) is not None:
        return Reply(obedient)
    phrases = phrases_for(turn.prompt)
    spoken = _extract(turn, phrases, cites=cites) if turn.searched else _echo(turn, phrases)
    return Reply("".join([phrases.prefix, *spoken, *_asides(turn, phrases)]).rstrip(" "))


def usual_reasoning(turn: Turn) -> str:
    """What a thinking app thinks about a turn."""
    lines = [f"用户的问题是「{_quoted(turn.prompt)}」。"]
    if turn.history:
        lines.append(f"这是第{len(turn.history) + 1}轮，要接着前面的话说。")
    if turn.searched:
        lines.append(f"知识库里找到{len(turn.hits)}段资料。")
        lines.extend(f"第{hit.index}段讲{hit.chunk.title or hit.chunk.name}。" for hit in turn.hits)
    lines.append("我是本地模拟器，没有模型，就从现有的内容里组织回答。")
    return "".join(lines)


def _extract(turn: Turn, phrases: Phrases, *, cites: bool) -> Iterable[str]:
    if not turn.hits:
        yield phrases.nothing_found.format(prompt=_quoted(turn.prompt))
        return
    asked = set(words(turn.prompt))
    best = turn.hits[0].score
    worth = [hit for hit in turn.hits[:_CITED_HITS] if hit.score >= best * _WORTH_CITING]
    for hit in worth:
        count = 2 if hit is turn.hits[0] else 1
        for sentence in _best_sentences(hit, asked, count, chinese=is_chinese(turn.prompt)):
            marker = f"<ref>[{hit.index}]</ref>" if cites else ""
            # The recorded markers stand before the punctuation mark.
            yield f"{sentence.rstrip(_SENTENCE_MARKS)}{marker}{phrases.stop}"


def _best_sentences(hit: Hit, asked: set[str], count: int, *, chinese: bool) -> list[str]:
    """The sentences that share most words with the question, in the order of the text."""
    candidates = [s for s in sentences(hit.chunk.body) if is_chinese(s) == chinese]
    candidates = candidates or sentences(hit.chunk.body)
    ranked = sorted(candidates, key=lambda s: -len(asked & set(words(s))))[:count]
    return [sentence for sentence in candidates if sentence in ranked]


def _echo(turn: Turn, phrases: Phrases) -> Iterable[str]:
    yield phrases.echo.format(prompt=_quoted(turn.prompt))
    if turn.history:
        previous = _quoted(turn.history[-1].prompt)
        yield phrases.previous.format(previous=previous, count=len(turn.history))
    yield phrases.no_model


def _asides(turn: Turn, phrases: Phrases) -> Iterable[str]:
    """What every app adds when it is asked for or was given something."""
    if _ASKS_ABOUT_USER.search(turn.prompt):
        told = [fact for r in turn.history for fact in facts_in(r.prompt, addressed=True)]
        if told:
            yield phrases.told.format(facts="".join(told))
    if turn.memories:
        facts = "".join(memory.partition("] ")[2] for memory in turn.memories)
        yield phrases.remembered.format(facts=facts)
    if turn.images or turn.files:
        yield phrases.attached.format(images=len(turn.images), files=len(turn.files))
    if turn.system and "<tools>" not in turn.system:  # whose words would be taken for a call
        yield phrases.system.format(system=_quoted(turn.system))


def _quoted(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
