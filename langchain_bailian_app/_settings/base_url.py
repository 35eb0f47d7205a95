"""Which root of the API requests go to: checked where the user gives one, chosen where not."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

_API_PATH = "/api/v1"
_SHARED_HOSTS = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
}
_INTERNATIONAL_HOST = "dashscope-intl.aliyuncs.com"


def check_base_url(base_url: str, *, allow_insecure_http: bool) -> str:
    """Return the base URL without a slash at its end.

    Raises:
        ValueError: It is not the root of this API, or would send the key in the clear.
    """
    url = urlsplit(base_url)
    try:
        _ = url.port
    except ValueError as exc:
        message = f"`base_url` {base_url!r} has no valid port: {exc}"
        raise ValueError(message) from exc
    try:
        (url.hostname or "").encode("idna")
    except UnicodeError as exc:
        message = f"`base_url` {base_url!r} has no valid host: a part of it is empty or too long"
        raise ValueError(message) from exc
    path = url.path.rstrip("/")
    if url.username or url.password:
        message = "`base_url` has a user name or password in it, which would take the place of the key"
        raise ValueError(message)
    if url.scheme not in {"http", "https"} or not url.hostname:
        problem = "is no http(s) URL"
    elif path.endswith("/compatible-mode/v1"):
        problem = "is the OpenAI-compatible route for models, which serves no applications"
    elif not path.endswith(_API_PATH) or url.query or url.fragment:
        problem = f"does not end in {_API_PATH}"
    elif url.scheme == "http" and not allow_insecure_http and not is_loopback(base_url):
        message = (
            f"`base_url` {base_url!r} would send the key unencrypted: use https, or set "
            "`allow_insecure_http=True`"
        )
        raise ValueError(message)
    else:
        return base_url.rstrip("/")
    scheme = "http" if url.scheme == "http" else "https"
    example = f"{scheme}://{url.netloc or 'host'}{_API_PATH}"
    message = f"`base_url` {base_url!r} {problem}: it should look like {example!r}"
    raise ValueError(message)


def default_base_url(gateway: str, workspace: str | None, region: str) -> str:
    """Return the root of the API in a region.

    Raises:
        ValueError: The workspace gateway is asked for, but no workspace is known.
    """
    if gateway == "shared":
        return f"https://{_SHARED_HOSTS.get(region, _INTERNATIONAL_HOST)}{_API_PATH}"
    if workspace is None:
        message = "`gateway='workspace'` needs `workspace` or DASHSCOPE_WORKSPACE"
        raise ValueError(message)
    return f"https://{workspace}.{region}.maas.aliyuncs.com{_API_PATH}"


def extract_host(url: str) -> str:
    """Return the host, for messages."""
    return urlsplit(url).hostname or url


@lru_cache(maxsize=256)  # every call asks
def is_loopback(base_url: str) -> bool:
    """Whether the service is on this machine; a proxy could not reach it."""
    host = extract_host(base_url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
