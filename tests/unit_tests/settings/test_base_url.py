"""Validation and defaults of the base URL."""

import re
from typing import get_args

import pytest

from langchain_bailian_app._settings.base_url import (
    check_base_url,
    check_offers_runs,
    default_base_url,
    extract_host,
    find_request_timeout,
    is_in_singapore,
    is_loopback,
)
from langchain_bailian_app._settings.connection import Region


@pytest.mark.parametrize(
    "base_url",
    [
        "https://dashscope.aliyuncs.com/api/v1",
        "https://ws1.cn-beijing.maas.aliyuncs.com/api/v1",
        "https://ep-0123.dashscope.cn-beijing.privatelink.aliyuncs.com/api/v1",
        "https://example.com:8443/proxy/api/v1",
        "HTTPS://EXAMPLE.COM/api/v1",
        "http://localhost:8000/api/v1",
        "http://app.localhost/api/v1",
        "http://127.0.0.1/api/v1",
        "http://127.8.9.1/api/v1",
        "http://[::1]:80/api/v1",
    ],
)
def test_a_base_url_loses_its_trailing_slash(base_url: str) -> None:
    assert base_url == check_base_url(base_url, allow_insecure_http=False)
    assert base_url == check_base_url(base_url + "/", allow_insecure_http=False)


PATH_PROBLEM = "its path must end in /api/v1, with no query"
OPENAI_ROUTE_PROBLEM = "the OpenAI-compatible route serves models, not applications"


@pytest.mark.parametrize(
    ("base_url", "problem", "example"),
    [
        ("https://example.com", PATH_PROBLEM, "https://example.com/api/v1"),
        ("https://example.com/", PATH_PROBLEM, "https://example.com/api/v1"),
        ("https://example.com/api", PATH_PROBLEM, "https://example.com/api/v1"),
        ("https://example.com/api/v2", PATH_PROBLEM, "https://example.com/api/v1"),
        (
            "https://example.com/api/v1/apps/x",
            PATH_PROBLEM,
            "https://example.com/api/v1",
        ),
        (
            "https://example.com/api/v1?key=1",
            PATH_PROBLEM,
            "https://example.com/api/v1",
        ),
        ("https://example.com/api/v1#a", PATH_PROBLEM, "https://example.com/api/v1"),
        ("http://localhost:8000", PATH_PROBLEM, "http://localhost:8000/api/v1"),
        ("https://example.com/compatible-mode/v1", OPENAI_ROUTE_PROBLEM, "https://example.com/api/v1"),
        ("https://example.com/compatible-mode/v1/", OPENAI_ROUTE_PROBLEM, "https://example.com/api/v1"),
        (
            "https://example.com/compatible-mode/v1/chat/completions",
            OPENAI_ROUTE_PROBLEM,
            "https://example.com/api/v1",
        ),
        ("ftp://example.com/api/v1", "not an http(s) URL", "https://example.com/api/v1"),
        ("example.com/api/v1", "not an http(s) URL", "https://host/api/v1"),
        ("https:///api/v1", "not an http(s) URL", "https://host/api/v1"),
        ("", "not an http(s) URL", "https://host/api/v1"),
    ],
)
def test_any_other_url_is_an_error_with_an_example(base_url: str, problem: str, example: str) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        check_base_url(base_url, allow_insecure_http=True)

    shown = base_url.partition("?")[0]
    assert (
        str(caught.value) == f"invalid `base_url` {shown!r}: {problem}; expected a URL like {example!r}"
    )


@pytest.mark.parametrize(
    ("base_url", "shared_url"),
    [
        (
            "https://dashscope.aliyuncs.com/api/v2/apps/agent/0123abcd/compatible-mode/v1",
            "https://dashscope.aliyuncs.com/api/v1",
        ),
        (
            "https://example.com:8443/proxy/api/v2/apps/agent/0123abcd/compatible-mode/v1/",
            "https://example.com:8443/proxy/api/v1",
        ),
        (
            "http://localhost/api/v2/apps/agent/0123abcd/compatible-mode/v1/responses",
            "http://localhost/api/v1",
        ),
        (
            "https://example.com/api/v2/apps/workflow/0123abcd/compatible-mode/v1",
            "https://example.com/api/v1",
        ),
        (
            "https://example.com/api/v2/apps/agent/0123abcd/compatible-mode/v1/chat/completions",
            "https://example.com/api/v1",
        ),
        (
            "https://example.com/api/v2/apps/agent/0123abcd/compatible-mode/v1/responses/resp_1/",
            "https://example.com/api/v1",
        ),
        (
            "https://example.com/api/v2/apps/agent/0123abcd/compatible-mode",
            "https://example.com/api/v1",
        ),
        (
            "http://10.0.0.1/api/v2/apps/agent/0123abcd/compatible-mode/v1",
            "http://10.0.0.1/api/v1",
        ),
    ],
)
def test_the_responses_route_of_an_application_is_named_with_what_to_use_instead(
    base_url: str, shared_url: str
) -> None:
    with pytest.raises(ValueError, match="base_url") as caught:
        check_base_url(base_url, allow_insecure_http=True)

    assert str(caught.value) == (
        f"invalid `base_url` {base_url!r}: it is the Responses route of application '0123abcd', which "
        "this package finds itself; pass `app_id='0123abcd'`, and omit `base_url` or pass "
        f"`base_url={shared_url!r}`"
    )


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/apps/compatible-mode/v1",
        "/api/v2/apps/agent/compatible-mode/v1",
        "/api/v2/apps/protocols/compatible-mode/v1/responses",
    ],
)
def test_a_responses_route_without_an_application_is_named_too(path: str) -> None:
    with pytest.raises(ValueError, match="it is the Responses route, which") as caught:
        check_base_url(f"https://example.com{path}", allow_insecure_http=False)

    assert str(caught.value).endswith(
        "; pass `app_id`, and omit `base_url` or pass `base_url='https://example.com/api/v1'`"
    )


@pytest.mark.parametrize(
    ("base_url", "suggested_url"),
    [
        (
            "http://example.com/api/v2/apps/agent/a/compatible-mode/v1",
            "https://example.com/api/v1",
        ),
        ("http://example.com:80/compatible-mode/v1", "https://example.com/api/v1"),
        ("http://example.com", "https://example.com/api/v1"),
        ("http://example.com:8080/", "https://example.com:8080/api/v1"),
        ("http://127.0.0.1:80/", "http://127.0.0.1:80/api/v1"),
    ],
)
def test_a_url_that_would_be_rejected_is_not_suggested(base_url: str, suggested_url: str) -> None:
    with pytest.raises(ValueError, match="invalid `base_url`") as caught:
        check_base_url(base_url, allow_insecure_http=False)

    assert repr(suggested_url) in str(caught.value)
    assert suggested_url == check_base_url(suggested_url, allow_insecure_http=False)


def test_the_query_of_a_responses_route_is_not_shown() -> None:
    url = "https://example.com/api/v2/apps/agent/a/compatible-mode/v1?api_key=planted"

    with pytest.raises(ValueError, match="Responses route") as caught:
        check_base_url(url, allow_insecure_http=True)

    assert "planted" not in str(caught.value)


def test_white_space_around_a_base_url_is_removed() -> None:
    url = "https://example.com/api/v1"

    assert url == check_base_url(f" {url}/\n", allow_insecure_http=False)


@pytest.mark.parametrize("host", ["a..example", ".example", f"{'a' * 64}.example"])
def test_an_invalid_host_is_rejected(host: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"invalid host '{host}' in `base_url`")):
        check_base_url(f"https://{host}/api/v1", allow_insecure_http=True)


@pytest.mark.parametrize("port", ["port", "65536", "-1"])
def test_an_invalid_port_is_rejected(port: str) -> None:
    url = f"https://example.com:{port}/api/v1"

    with pytest.raises(ValueError, match=r"invalid port in `base_url` for host 'example.com': "):
        check_base_url(url, allow_insecure_http=False)


@pytest.mark.parametrize("user", ["planted", "planted:planted", ":planted"])
def test_a_url_with_a_password_is_refused_and_not_shown(user: str) -> None:
    with pytest.raises(ValueError, match=r"^invalid `base_url`: its user name or password") as caught:
        check_base_url(f"https://{user}@example.com/api/v1", allow_insecure_http=False)

    assert "planted" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://example.com/api/v1",
        "http://localhost.example.com/api/v1",
        "http://127.0.0.1.example.com/api/v1",
        "http://10.0.0.1/api/v1",
        "http://0.0.0.0/api/v1",
    ],
)
def test_the_key_is_not_sent_in_the_clear_beyond_this_machine(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"use https or set `allow_insecure_http=True`$"):
        check_base_url(base_url, allow_insecure_http=False)
    assert base_url == check_base_url(base_url, allow_insecure_http=True)


SHARED_HOSTS = {
    "cn-beijing": "dashscope.aliyuncs.com",
    "ap-southeast-1": "dashscope-intl.aliyuncs.com",
    "cn-hongkong": "cn-hongkong.dashscope.aliyuncs.com",
}
NOT_OFFERED = {"us-east-1": "usa-virginia-global", "ap-northeast-1": "japan-tokyo-global"}
WORKSPACE_HOST_ONLY = "eu-central-1"


def test_the_regions_are_those_of_the_field() -> None:
    assert {*SHARED_HOSTS, *NOT_OFFERED, WORKSPACE_HOST_ONLY} == set(get_args(Region))


@pytest.mark.parametrize("workspace", [None, "ws1"])
@pytest.mark.parametrize("region", SHARED_HOSTS)
def test_a_region_with_a_shared_host_uses_it(region: str, workspace: str | None) -> None:
    host = SHARED_HOSTS[region]

    assert default_base_url("shared", workspace, region) == f"https://{host}/api/v1"


@pytest.mark.parametrize("region", [*SHARED_HOSTS, WORKSPACE_HOST_ONLY])
def test_the_gateway_of_a_workspace_is_its_own_host(region: str) -> None:
    expected = f"https://ws1.{region}.maas.aliyuncs.com/api/v1"

    assert default_base_url("workspace", "ws1", region) == expected
    with pytest.raises(ValueError, match=r"^missing .*`gateway='workspace'`.* DASHSCOPE_WORKSPACE$"):
        default_base_url("workspace", None, region)


def test_a_region_without_a_shared_host_uses_that_of_the_workspace() -> None:
    expected = f"https://ws1.{WORKSPACE_HOST_ONLY}.maas.aliyuncs.com/api/v1"

    assert default_base_url("shared", "ws1", WORKSPACE_HOST_ONLY) == expected
    message = r"^missing `workspace` for `region='eu-central-1'`, which has no shared host: pass it or"
    with pytest.raises(ValueError, match=message):
        default_base_url("shared", None, WORKSPACE_HOST_ONLY)


@pytest.mark.parametrize("workspace", [None, "ws1"])
@pytest.mark.parametrize("gateway", ["shared", "workspace"])
@pytest.mark.parametrize("region", NOT_OFFERED)
def test_a_region_without_applications_is_rejected_with_the_source(
    region: str, gateway: str, workspace: str | None
) -> None:
    with pytest.raises(ValueError, match=f"^invalid `region`.* not offered in {region} ") as caught:
        default_base_url(gateway, workspace, region)

    assert f"according to the page {NOT_OFFERED[region]!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "seconds"),
    [
        *((host, 600) for host in SHARED_HOSTS.values()),
        ("trial.cn-beijing.maas.aliyuncs.com", 600),
        ("ws1.cn-beijing.maas.aliyuncs.com", 3600),
        ("ws1.eu-central-1.maas.aliyuncs.com", 3600),
        ("maas.aliyuncs.com.example.com", None),
        ("ep-0123.dashscope.cn-beijing.privatelink.aliyuncs.com", None),
        ("127.0.0.1:8000", None),
    ],
)
def test_the_documented_time_limit_of_each_gateway_is_known(host: str, seconds: int | None) -> None:
    assert find_request_timeout(f"https://{host}/api/v1") == seconds


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("dashscope-intl.aliyuncs.com", True),
        ("ws1.ap-southeast-1.maas.aliyuncs.com", True),
        ("dashscope.aliyuncs.com", False),
        ("ws1.cn-beijing.maas.aliyuncs.com", False),
        ("ap-southeast-1.example.com", False),
    ],
)
def test_hosts_in_singapore_are_recognized(*, host: str, expected: bool) -> None:
    assert is_in_singapore(f"https://{host}/api/v1") is expected


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://localhost/api/v1", True),
        ("http://LOCALHOST/api/v1", True),
        ("http://[::1]/api/v1", True),
        ("https://127.0.0.1:1/api/v1", True),
        ("https://example.com/api/v1", False),
        ("http://localhost.example.com/api/v1", False),
        ("http://[fe80::1]/api/v1", False),
    ],
)
def test_loopback_hosts_are_recognized(*, base_url: str, expected: bool) -> None:
    assert expected is is_loopback(base_url)


def test_the_host_is_extracted_without_port_and_path() -> None:
    assert extract_host("https://example.com:8443/api/v1") == "example.com"
    assert extract_host("nonsense") == "nonsense"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("dashscope-intl.aliyuncs.com", "ap-southeast-1"),
        ("ws1.ap-southeast-1.maas.aliyuncs.com", "ap-southeast-1"),
        ("ws1.us-east-1.maas.aliyuncs.com", "us-east-1"),
        ("ws1.ap-northeast-1.maas.aliyuncs.com", "ap-northeast-1"),
        ("dashscope.aliyuncs.com", None),
        ("ws1.cn-beijing.maas.aliyuncs.com", None),
        ("cn-hongkong.dashscope.aliyuncs.com", None),
        ("ws1.eu-central-1.maas.aliyuncs.com", None),
        ("gateway.example.com", None),
    ],
)
def test_regions_without_background_runs_are_rejected(host: str, region: str | None) -> None:
    base_url = f"https://{host}/api/v1"
    if region is None:
        check_offers_runs(base_url)
        return
    with pytest.raises(ValueError, match=f"^background runs are not offered in {region}: .*; use an"):
        check_offers_runs(base_url)
