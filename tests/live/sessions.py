"""What becomes of sessions, and of what was said before."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.errors import BailianError, BailianSessionError
from tests.live.harness import WHO, CannotAsk, Lab, Outcome, Questions, introduction

QUESTIONS = Questions()
_ROUNDS = 50
_ANIMAL, _CAT = "图里是什么动物？", "猫"


@QUESTIONS.about(
    "Does a session hold what was said in it?", assumed="yes, and the id comes back unchanged"
)
def session_is_kept(lab: Lab) -> Outcome:
    lab.needs_recall()
    name, session_id = _introduced(lab)
    text, same = _asked_in(lab, session_id)
    return Outcome(f"{_remembered(name, text)}, {_id(same)}", as_assumed=name in text and same)


@QUESTIONS.about(
    "What becomes of a session id that the service never gave?",
    assumed="an error that names the session, or an answer under another id; the same id, empty, goes "
    "unnoticed",
)
def unknown_session(lab: Lab) -> Outcome:
    return _resumed(lab, "0" * 32, None)


@QUESTIONS.about(
    "What becomes of a session after an hour without a request?",
    assumed="as for an unknown one; `history='session'` does not ask after 55 minutes",
)
def expired_session(lab: Lab) -> Outcome:
    name, session_id = _introduced(lab)
    lab.expiry_hint = f"BAILIAN_LIVE_SESSION={name}:{session_id} make live   # in more than an hour"
    earlier = lab.setting("SESSION", "what this run says at its end, an hour later")
    name, _, session_id = earlier.partition(":")
    return _resumed(lab, session_id, name)


@QUESTIONS.about(
    f"What becomes of a session after {_ROUNDS} rounds?",
    assumed="not asked: `history='session'` begins anew after 50 turns",
)
def full_session(lab: Lab) -> Outcome:
    lab.setting("EXPENSIVE", f"1, as this takes {_ROUNDS + 1} calls")
    name, session_id = _introduced(lab)
    for number in range(2, _ROUNDS + 1):
        lab.model().invoke(f"请只回答数字{number}。", session_id=session_id)
    return _resumed(lab, session_id, name)


@QUESTIONS.about(
    "Does a session keep the question of an answer that was broken off?",
    assumed="unknown: `history='session'` tells all messages after a call that broke off",
)
def aborted_turn(lab: Lab) -> Outcome:
    lab.needs_recall()
    _, session_id = _introduced(lab)
    name = lab.name()
    stream = lab.model().stream(f"{introduction(name)}请写一首长诗。", session_id=session_id)
    for chunk in stream:
        if chunk.text:
            break
    stream.close()  # type: ignore[attr-defined]  # a generator
    text, same = _asked_in(lab, session_id)
    kept = "kept" if name in text else "dropped"
    return Outcome(f"the question is {kept}, {_id(same)}")


@QUESTIONS.about(
    "Does the session that a reply to `messages` names hold these messages?",
    assumed="unknown: such a conversation stays on messages",
)
def session_of_messages(lab: Lab) -> Outcome:
    lab.needs_recall()
    name = lab.name()
    told = [("human", introduction(name)), ("ai", "你好。"), ("human", "今天星期几？")]
    session_id = lab.model().invoke(told).response_metadata.get("session_id")
    if session_id is None:
        return Outcome("no session is named")
    text, same = _asked_in(lab, session_id)
    return Outcome(f"{_remembered(name, text)}, {_id(same)}")


@QUESTIONS.about(
    "Which one wins, `messages` or `session_id`?",
    assumed="the two are never sent together; documents say `messages`",
)
def messages_and_session(lab: Lab) -> Outcome:
    lab.needs_recall()
    in_session, session_id = _introduced(lab)
    name = lab.name()
    messages = [_user(introduction(name)), {"role": "assistant", "content": "你好。"}, _user(WHO)]
    reply = lab.post({"messages": messages, "session_id": session_id})
    if reply.code:
        return Outcome(f"refused: {reply.status} {reply.code}")
    winners = [
        who for who, told in (("messages", name), ("session_id", in_session)) if told in reply.text
    ]
    return Outcome(f"the answer knows {' and '.join(winners) or 'neither'}")


@QUESTIONS.about(
    "What becomes of `prompt` beside `messages`?",
    assumed="the two are never sent together; documents contradict each other",
)
def prompt_and_messages(lab: Lab) -> Outcome:
    lab.needs_recall()
    name = lab.name()
    asked = [_user(introduction(name)), {"role": "assistant", "content": "你好。"}, _user("你好吗？")]
    reply = lab.post({"messages": asked, "prompt": WHO})
    if reply.code:
        return Outcome(f"refused: {reply.status} {reply.code}")
    return Outcome("it is the last question" if name in reply.text else "it is ignored")


@QUESTIONS.about(
    "Is an image of an earlier message seen?", assumed="it is sent with the newest one; unverified"
)
def earlier_image(lab: Lab) -> Outcome:
    conversation = [_picture(lab), AIMessage("好的。"), HumanMessage(_ANIMAL)]
    seen = _CAT in lab.model().invoke(conversation).text
    return Outcome("yes" if seen else "no", as_assumed=seen)


@QUESTIONS.about(
    "Does a session remember an image?", assumed="unknown: all messages are sent after one"
)
def image_in_a_session(lab: Lab) -> Outcome:
    first = lab.model().invoke([_picture(lab)])
    session_id = first.response_metadata.get("session_id")
    seen = _CAT in lab.model().invoke(_ANIMAL, session_id=session_id).text
    return Outcome("yes" if seen else "no")


def _picture(lab: Lab) -> HumanMessage:
    url = lab.setting("CAT_URL", "URL of a picture of a cat, for an application that sees pictures")
    return HumanMessage([{"type": "text", "text": "请记住这张图。"}, {"type": "image", "url": url}])


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _introduced(lab: Lab) -> tuple[str, str]:
    """Begin a session with a name; return the name and the id."""
    name = lab.name()
    session_id = lab.model().invoke(introduction(name)).response_metadata.get("session_id")
    if session_id is None:
        message = "the answer names no session"
        raise CannotAsk(message)
    return name, session_id


def _asked_in(lab: Lab, session_id: str) -> tuple[str, bool]:
    """Ask a session for the name; return the answer, and whether it came under the same id."""
    answer = lab.model().invoke(WHO, session_id=session_id)
    return answer.text, answer.response_metadata.get("session_id") == session_id


def _resumed(lab: Lab, session_id: str, name: str | None) -> Outcome:
    try:
        text, same = _asked_in(lab, session_id)
    except BailianError as error:
        known = isinstance(error, BailianSessionError)
        taken = (
            "a BailianSessionError"
            if known
            else f"not known as one of sessions: {type(error).__name__}"
        )
        return Outcome(f"refused: {error.status_code} {error.code}, {taken}", as_assumed=known)
    if name is not None and name in text:
        return Outcome(f"it goes on: {_remembered(name, text)}, {_id(same)}")
    return Outcome(f"answered without what was said, {_id(same)}", as_assumed=not same)


def _remembered(name: str, text: str) -> str:
    return "the name is remembered" if name in text else "the name is not remembered"


def _id(same: bool) -> str:
    return "under the same id" if same else "under another id"
