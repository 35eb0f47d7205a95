"""Validation of the base URL of the API, its default for a region, and the limits of known hosts."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from langchain_bailian_app.options._signed_urls import redact_url

_API_PATH = "/api/v1"
# `/api/v2/apps/agent/{app_id}/compatible-mode/v1`, and the paths that begin with it.
_RESPONSES_PATH = re.compile(
    r"(?P<prefix>.*)/api/v2/apps(?:/[^/]+)?(?:/(?P<app_id>[^/]+))?/compatible-mode(?:/.*)?"
)
_SHARED_HOSTS = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
}
_SINGAPORE = "ap-southeast-1"
# Regions where applications are not offered; the source is this page of Model Studio's documentation.
_PAGES_OF_REGIONS_WITHOUT_APPLICATIONS = {
    "us-east-1": "usa-virginia-global",
    "ap-northeast-1": "japan-tokyo-global",
}
_WORKSPACE_DOMAIN = "maas.aliyuncs.com"
_TRIAL_PREFIX = "trial."
# Documented for models, unverified for applications.
_REQUEST_TIMEOUT, _REQUEST_TIMEOUT_OF_WORKSPACES = 600, 3600  # seconds


def check_base_url(base_url: str, *, allow_insecure_http: bool) -> str:
    """Validate a base URL and return it without a trailing slash or white space around it.

    Raises:
        ValueError: The URL is not the root of this API, or the key would be sent unencrypted.
    """
    base_url = base_url.strip()
    url = urlsplit(base_url)
    try:
        _ = url.port
    except ValueError as exc:
        message = (
            f"invalid port in `base_url` for host {url.hostname!r}: expected a number from 0 to 65535"
        )
        raise ValueError(message) from exc
    try:
        (url.hostname or "").encode("idna")
    except UnicodeError as exc:
        message = f"invalid host {url.hostname!r} in `base_url`: one of its labels is empty or too long"
        raise ValueError(message) from exc
    path = url.path.rstrip("/")
    if url.username or url.password:
        message = "invalid `base_url`: its user name or password would replace the key; remove them"
        raise ValueError(message)
    if url.scheme not in {"http", "https"} or not url.hostname:
        problem = "not an http(s) URL"
    elif "/compatible-mode/" in f"{path}/":
        problem = "the OpenAI-compatible route serves models, not applications"
    elif not path.endswith(_API_PATH) or url.query or url.fragment:
        problem = f"its path must end in {_API_PATH}, with no query"
    elif url.scheme == "http" and not allow_insecure_http and not is_loopback(base_url):
        message = (
            f"insecure `base_url` {redact_url(base_url)!r}: the key would be sent unencrypted; use "
            "https or set `allow_insecure_http=True`"
        )
        raise ValueError(message)
    else:
        return base_url.rstrip("/")
    is_http_allowed = url.scheme == "http" and (allow_insecure_http or is_loopback(base_url))
    netloc = url.netloc if is_http_allowed else url.netloc.removesuffix(":80")
    root = f"{'http' if is_http_allowed else 'https'}://{netloc or 'host'}"
    shown = redact_url(base_url)
    if url.netloc and (responses_path := _RESPONSES_PATH.fullmatch(path)):
        message = f"invalid `base_url` {shown!r}: {_describe_responses_path(root, responses_path)}"
        raise ValueError(message)
    message = f"invalid `base_url` {shown!r}: {problem}; expected a URL like {root + _API_PATH!r}"
    raise ValueError(message)


def _describe_responses_path(root: str, path: re.Match[str]) -> str:
    app_id = path["app_id"]
    application = f" of application {app_id!r}" if app_id else ""
    argument = f"`app_id={app_id!r}`" if app_id else "`app_id`"
    base_url = f"{root}{path['prefix']}{_API_PATH}"
    return (
        f"it is the Responses route{application}, which this package finds itself; pass {argument}, "
        f"and omit `base_url` or pass `base_url={base_url!r}`"
    )


def default_base_url(gateway: str, workspace: str | None, region: str) -> str:
    """Return the default base URL for a gateway and a region.

    A region without a shared host is served by the host of the workspace, whatever the gateway is.

    Raises:
        ValueError: Applications are not offered in the region, or a required workspace is missing.
    """
    if page := _PAGES_OF_REGIONS_WITHOUT_APPLICATIONS.get(region):
        message = (
            f"invalid `region` {region!r}: applications are not offered in {region} according to the "
            f"page {page!r} of Model Studio's documentation; use another region, or pass `base_url`"
        )
        raise ValueError(message)
    shared_host = _SHARED_HOSTS.get(region)
    if gateway == "shared" and shared_host is not None:
        return f"https://{shared_host}{_API_PATH}"
    if workspace is None:
        setting = (
            "`gateway='workspace'`"
            if gateway == "workspace"
            else f"`region={region!r}`, which has no shared host"
        )
        message = f"missing `workspace` for {setting}: pass it or set DASHSCOPE_WORKSPACE"
        raise ValueError(message)
    return f"https://{workspace}.{region}.{_WORKSPACE_DOMAIN}{_API_PATH}"


def find_request_timeout(base_url: str) -> int | None:
    """Return the seconds after which the gateway of Model Studio ends a request, or None elsewhere.

    The value is documented for models, and unverified for applications.
    """
    host = extract_host(base_url)
    if host in _SHARED_HOSTS.values():
        return _REQUEST_TIMEOUT
    if not host.endswith(f".{_WORKSPACE_DOMAIN}"):
        return None
    return _REQUEST_TIMEOUT if host.startswith(_TRIAL_PREFIX) else _REQUEST_TIMEOUT_OF_WORKSPACES


def is_in_singapore(base_url: str) -> bool:
    """Return whether the host is a gateway of Model Studio in Singapore."""
    host = extract_host(base_url)
    return host == _SHARED_HOSTS[_SINGAPORE] or host.endswith(f".{_SINGAPORE}.{_WORKSPACE_DOMAIN}")


def check_offers_runs(base_url: str) -> None:
    """Reject the gateways of regions that do not offer background runs.

    The Responses route of applications is documented for Beijing only. Singapore is documented to offer
    completion only, and other regions offer no applications. Hong Kong and Frankfurt are unverified.

    Raises:
        ValueError: The gateway is in a region without background runs.
    """
    host = extract_host(base_url)
    for region in (_SINGAPORE, *_PAGES_OF_REGIONS_WITHOUT_APPLICATIONS):
        if host == _SHARED_HOSTS.get(region) or host.endswith(f".{region}.{_WORKSPACE_DOMAIN}"):
            message = (
                f"background runs are not offered in {region}: the Responses route of applications is "
                "documented for cn-beijing only; use an application in that region, or call `invoke`"
            )
            raise ValueError(message)


def extract_host(url: str) -> str:
    """Return the host of a URL, for messages."""
    return urlsplit(url).hostname or url


@lru_cache(maxsize=256)  # needed in every call
def is_loopback(base_url: str) -> bool:
    """Return whether the service is on this machine, where a proxy cannot reach it."""
    host = extract_host(base_url)
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
