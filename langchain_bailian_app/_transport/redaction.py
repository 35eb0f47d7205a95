"""Removal of secrets from errors: a service may echo a request, and causes hold it.

An error may be logged, shown to a user or sent to an error tracker.
"""

from __future__ import annotations

import json
import re
import ssl
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from langchain_bailian_app._answer.control_characters import replace_control_characters
from langchain_bailian_app.options._signed_urls import SignedUrl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx

REMOVED = "[removed]"
_MIN_SECRET_CHARS = 8  # a shorter one also occurs in ordinary text
_MAX_CUT_CHARS = 1000  # of a secret at the end of a truncated text
_MAX_DEPTH = 100
_URL_FIELDS = ("image_list", "file_list", "image_url", "file_url")
_TOKEN_FIELD = "user_defined_tokens"  # noqa: S105  # a name
# Names of URL parameters that hold a signature or a token, in any storage or CDN.
_SECRET_PARAMETER = re.compile(r"sig|token|key|auth|secret|credential|password", re.IGNORECASE)
# Some JSON libraries, such as Gson, escape these too.
_HTML_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "=&<>'"})


class Redactor:
    """Function that removes secrets from a text or a JSON value.

    Args:
        secrets: Keys and tokens; those of fewer than 8 characters are ignored.
        urls: URLs that may be signed. Their queries are secrets too, and so are their signatures.
    """

    def __init__(self, secrets: Iterable[str], urls: Iterable[str] = ()) -> None:
        queries = {url.partition("?")[2] for url in urls}
        values = {*secrets, *(value for query in queries for value in _find_signatures(query))}
        self._secrets = _prepare(values | queries)
        # Without the queries: they begin with ordinary text, such as "Signature".
        self._secrets_to_cut = _prepare(values)

    @classmethod
    def for_request(cls, api_key: str, body: Any) -> Self:
        """Return the redactor for responses to a request: they may echo it."""
        strings = list(_iter_strings(body, ""))
        return cls(
            [api_key, *(value for name, value in strings if name == _TOKEN_FIELD)],
            [value for name, value in strings if isinstance(value, SignedUrl) or name in _URL_FIELDS],
        )

    def with_secret(self, secret: str) -> Redactor:
        """Return a redactor that removes another key or token too."""
        redactor = Redactor([secret])
        redactor._secrets = sorted({*self._secrets, *redactor._secrets}, key=len, reverse=True)
        redactor._secrets_to_cut = sorted(
            {*self._secrets_to_cut, *redactor._secrets_to_cut}, key=len, reverse=True
        )
        return redactor

    def text(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        return text

    def truncated_text(self, text: str) -> str:
        """Return a text without the secrets, and without the beginning of one at its end."""
        text = self.text(text)
        for secret in self._secrets_to_cut:
            longest = min(len(secret) - 1, len(text), _MAX_CUT_CHARS)
            for length in range(longest, _MIN_SECRET_CHARS - 1, -1):
                if text.endswith(secret[:length]):
                    text = text[:-length] + REMOVED
        return text

    def body(self, body: Any) -> Any:
        """Return the body of a response: JSON, or a text that may be truncated.

        Values that are nested very deeply are removed too.
        """
        return self.truncated_text(body) if isinstance(body, str) else self._json(body, 0)

    def _json(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if depth > _MAX_DEPTH and isinstance(value, dict | list):
            return REMOVED
        if isinstance(value, dict):
            return {self._json(key, 0): self._json(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self._json(item, depth + 1) for item in value]
        return value


def _prepare(secrets: set[str]) -> list[str]:
    """Return the secrets that are long enough, as they are and escaped as in JSON."""
    long_enough = (secret for secret in secrets if len(secret) >= _MIN_SECRET_CHARS)
    forms = {form for secret in long_enough for form in (secret, *_escape(secret))}
    # The longest first, because one secret may contain another.
    return sorted(forms, key=len, reverse=True)


def _escape(secret: str) -> Iterator[str]:
    for ensure_ascii in (False, True):
        escaped = json.dumps(secret, ensure_ascii=ensure_ascii)[1:-1]
        yield from (escaped, escaped.translate(_HTML_ESCAPES))


def _iter_strings(value: Any, name: str) -> Iterator[tuple[str, str]]:
    """Yield the strings in a JSON value, each with the name of its field.

    All strings inside `user_defined_tokens` have that name.
    """
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _iter_strings(item, name if name == _TOKEN_FIELD else key)
    elif isinstance(value, list):
        for item in value:
            yield from _iter_strings(item, name)
    elif isinstance(value, str):
        yield name, value


def _find_signatures(query: str) -> Iterator[str]:
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if _SECRET_PARAMETER.search(name):
            yield from (value, unquote(value))


def copy_cause(
    cause: httpx.RequestError, origin: BaseException, redactor: Redactor
) -> httpx.RequestError:
    """Return a copy of an httpx error, caused by a copy of the operating system's error, if any.

    The originals hold the request, including the key, and stack frames whose variables hold it too.

    Args:
        cause: Error to copy.
        origin: Error that was raised; its chain of causes contains the operating system's error.
        redactor: Removes secrets from the texts.
    """
    classes = type(cause).__mro__  # a custom client may raise a subclass with other arguments
    httpx_class = next(cls for cls in classes if cls.__module__.partition(".")[0] == "httpx")
    copied: httpx.RequestError = httpx_class(_clean(str(cause), redactor))
    os_error = next((error for error in _iter_chain(origin) if _is_from_os(error)), None)
    if os_error is not None:
        copied.__cause__ = type(os_error)(
            *(arg if isinstance(arg, int) else _clean(str(arg), redactor) for arg in os_error.args)
        )
    return copied


def _clean(text: str, redactor: Redactor) -> str:
    return replace_control_characters(redactor.truncated_text(text))


def _iter_chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _is_from_os(error: BaseException) -> bool:
    """Return whether an error is from Python itself. Subclasses of libraries hold their connection."""
    return isinstance(error, OSError) and type(error).__module__ in {"builtins", "socket", ssl.__name__}
