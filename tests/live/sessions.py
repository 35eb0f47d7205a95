"""Live checks of sessions, messages and earlier turns."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage

from langchain_bailian_app.errors import BailianError, BailianSessionError
from tests.live.harness import (
    NAME_QUESTION,
    CheckRegistry,
    CheckSkipped,
    LiveHarness,
    Outcome,
    format_introduction,
)

CHECKS = CheckRegistry()
_ROUNDS = 50
_ANIMAL_QUESTION, _CAT = "图里是什么动物？", "猫"


@CHECKS.register(
    "Does a session remember its messages?", assumption="yes, and the id is returned unchanged"
)
def session_is_kept(harness: LiveHarness) -> Outcome:
    harness.require_recall()
    name, session_id = _start_session(harness)
    text, is_same_id = _ask_name(harness, session_id)
    return Outcome(
        f"{_describe_recall(name, text)}, {_describe_id(is_same_id)}",
        matches_assumption=name in text and is_same_id,
    )


@CHECKS.register(
    "How does the service handle a session id that it did not create?",
    assumption="an error about the session, or an answer with another id; an empty session with the "
    "same id is not detected",
)
def unknown_session(harness: LiveHarness) -> Outcome:
    return _resume_session(harness, "0" * 32, None)


@CHECKS.register(
    "What happens to a session after an hour without a request?",
    assumption="as for an unknown id; `history='session'` does not reuse it after 55 minutes",
)
def expired_session(harness: LiveHarness) -> Outcome:
    name, session_id = _start_session(harness)
    harness.expiry_hint = f"BAILIAN_LIVE_SESSION={name}:{session_id} make live   # in more than an hour"
    previous_session = harness.require_setting(
        "SESSION", "the value printed at the end of this run, for a run an hour later"
    )
    name, _, session_id = previous_session.partition(":")
    return _resume_session(harness, session_id, name)


@CHECKS.register(
    f"What happens to a session after {_ROUNDS} rounds?",
    assumption="avoided: `history='session'` starts a new session after 50 turns",
)
def full_session(harness: LiveHarness) -> Outcome:
    harness.require_setting("EXPENSIVE", f"1, to allow {_ROUNDS + 1} calls")
    name, session_id = _start_session(harness)
    for number in range(2, _ROUNDS + 1):
        harness.make_model().invoke(f"请只回答数字{number}。", session_id=session_id)
    return _resume_session(harness, session_id, name)


@CHECKS.register(
    "Does a session keep the question of an interrupted answer?",
    assumption="unknown: `history='session'` sends all messages after an interrupted call",
)
def aborted_turn(harness: LiveHarness) -> Outcome:
    harness.require_recall()
    _, session_id = _start_session(harness)
    name = harness.next_name()
    stream = harness.make_model().stream(
        f"{format_introduction(name)}请写一首长诗。", session_id=session_id
    )
    for chunk in stream:
        if chunk.text:
            break
    stream.close()  # type: ignore[attr-defined]  # a generator
    text, is_same_id = _ask_name(harness, session_id)
    fate = "kept" if name in text else "dropped"
    return Outcome(f"the question is {fate}, {_describe_id(is_same_id)}")


@CHECKS.register(
    "Does the session returned for `messages` contain these messages?",
    assumption="unknown: such a conversation continues with `messages`",
)
def session_from_messages(harness: LiveHarness) -> Outcome:
    harness.require_recall()
    name = harness.next_name()
    conversation = [("human", format_introduction(name)), ("ai", "你好。"), ("human", "今天星期几？")]
    session_id = harness.make_model().invoke(conversation).response_metadata.get("session_id")
    if session_id is None:
        return Outcome("no session id returned")
    text, is_same_id = _ask_name(harness, session_id)
    return Outcome(f"{_describe_recall(name, text)}, {_describe_id(is_same_id)}")


@CHECKS.register(
    "Which takes precedence, `messages` or `session_id`?",
    assumption="the two are never sent together; according to the documentation, `messages`",
)
def messages_and_session(harness: LiveHarness) -> Outcome:
    harness.require_recall()
    name_in_session, session_id = _start_session(harness)
    name_in_messages = harness.next_name()
    messages = [
        _user_message(format_introduction(name_in_messages)),
        {"role": "assistant", "content": "你好。"},
        _user_message(NAME_QUESTION),
    ]
    response = harness.post({"messages": messages, "session_id": session_id})
    if response.error_code:
        return Outcome(f"refused: {response.status} {response.error_code}")
    known_sources = [
        source
        for source, name in (("messages", name_in_messages), ("session_id", name_in_session))
        if name in response.text
    ]
    return Outcome(f"the answer is based on {' and '.join(known_sources) or 'neither'}")


@CHECKS.register(
    "How does the service handle `prompt` together with `messages`?",
    assumption="the two are never sent together; the documentation is contradictory",
)
def prompt_and_messages(harness: LiveHarness) -> Outcome:
    harness.require_recall()
    name = harness.next_name()
    messages = [
        _user_message(format_introduction(name)),
        {"role": "assistant", "content": "你好。"},
        _user_message("你好吗？"),
    ]
    response = harness.post({"messages": messages, "prompt": NAME_QUESTION})
    if response.error_code:
        return Outcome(f"refused: {response.status} {response.error_code}")
    return Outcome("it is used as the last question" if name in response.text else "it is ignored")


@CHECKS.register(
    "Does the application see an image in an earlier message?",
    assumption="yes: it is sent with the newest message; unverified",
)
def earlier_image(harness: LiveHarness) -> Outcome:
    conversation = [_cat_picture_message(harness), AIMessage("好的。"), HumanMessage(_ANIMAL_QUESTION)]
    is_recognized = _CAT in harness.make_model().invoke(conversation).text
    return Outcome("yes" if is_recognized else "no", matches_assumption=is_recognized)


@CHECKS.register(
    "Does a session remember an image?", assumption="unknown: all messages are sent after an image"
)
def image_in_a_session(harness: LiveHarness) -> Outcome:
    first_answer = harness.make_model().invoke([_cat_picture_message(harness)])
    session_id = first_answer.response_metadata.get("session_id")
    is_recognized = _CAT in harness.make_model().invoke(_ANIMAL_QUESTION, session_id=session_id).text
    return Outcome("yes" if is_recognized else "no")


def _cat_picture_message(harness: LiveHarness) -> HumanMessage:
    url = harness.require_setting(
        "CAT_URL", "the URL of a picture of a cat, for an application that accepts images"
    )
    return HumanMessage([{"type": "text", "text": "请记住这张图。"}, {"type": "image", "url": url}])


def _user_message(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _start_session(harness: LiveHarness) -> tuple[str, str]:
    """Start a session with a name; return the name and the session id."""
    name = harness.next_name()
    session_id = (
        harness.make_model().invoke(format_introduction(name)).response_metadata.get("session_id")
    )
    if session_id is None:
        message = "the answer has no session id"
        raise CheckSkipped(message)
    return name, session_id


def _ask_name(harness: LiveHarness, session_id: str) -> tuple[str, bool]:
    """Ask a session for the name; return the answer, and whether its session id is the same."""
    message = harness.make_model().invoke(NAME_QUESTION, session_id=session_id)
    return message.text, message.response_metadata.get("session_id") == session_id


def _resume_session(harness: LiveHarness, session_id: str, name: str | None) -> Outcome:
    try:
        text, is_same_id = _ask_name(harness, session_id)
    except BailianError as error:
        is_session_error = isinstance(error, BailianSessionError)
        error_description = (
            "a BailianSessionError"
            if is_session_error
            else f"not recognized as a session error: {type(error).__name__}"
        )
        return Outcome(
            f"refused: {error.status_code} {error.code}, {error_description}",
            matches_assumption=is_session_error,
        )
    if name is not None and name in text:
        return Outcome(f"it continues: {_describe_recall(name, text)}, {_describe_id(is_same_id)}")
    return Outcome(
        f"answered without history, {_describe_id(is_same_id)}", matches_assumption=not is_same_id
    )


def _describe_recall(name: str, text: str) -> str:
    return "the name is remembered" if name in text else "the name is not remembered"


def _describe_id(is_same_id: bool) -> str:
    return "with the same id" if is_same_id else "with another id"
