"""Image URLs that a notebook may load: on hosts of the service, or on hosts that the caller trusts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE_IMAGE_HOSTS = frozenset(
    {
        # Documents and knowledge bases, in recorded answers and in the reference of the OpenAPI.
        "bailian-datahub-data-origin-prod.oss-cn-hangzhou.aliyuncs.com",
        "docmind-api-cn-hangzhou.oss-cn-hangzhou.aliyuncs.com",
        # Pictures that a model has generated, in the references of these models.
        "dashscope-result-bj.oss-cn-beijing.aliyuncs.com",
        "dashscope-result-sgp.oss-ap-southeast-1.aliyuncs.com",
        "dashscope-result-sh.oss-accelerate.aliyuncs.com",
        "dashscope-result-sh.oss-cn-shanghai.aliyuncs.com",
        "dashscope-result-sz.oss-cn-shenzhen.aliyuncs.com",
        "dashscope-result-wlcb-acdr-1.oss-cn-wulanchabu-acdr-1.aliyuncs.com",
    }
)
"""Hosts of the service's own buckets.

No pattern is used: every customer of Alibaba Cloud can create a bucket under `aliyuncs.com` with any
free name, and reads the log of who loads its objects.
"""

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
# User names, ports, backslashes and other host names than plain ones, which browsers and Python parse
# differently, do not match.
_IMAGE_URL = re.compile(r"https://([a-z0-9.-]+)/[^\s\\\ufffd]*", re.IGNORECASE)


def find_image_hosts(*, show_images: bool, image_hosts: Iterable[str]) -> frozenset[str]:
    """Return the hosts whose images are shown.

    Raises:
        ValueError: A host is not a plain host name.
    """
    own_hosts = [image_hosts] if isinstance(image_hosts, str) else list(image_hosts)
    for host in own_hosts:
        if not isinstance(host, str) or _HOST.fullmatch(host.lower()) is None:
            message = (
                "invalid `image_hosts`: expected host names like 'pictures.example.com', without a"
                f" scheme, port or path, got {host!r}"
            )
            raise ValueError(message)
    if not show_images:
        return frozenset()
    return SERVICE_IMAGE_HOSTS | {host.lower() for host in own_hosts}


def is_image_of(url: str, hosts: frozenset[str]) -> bool:
    """Return whether the URL may be loaded as an image, given the hosts that are trusted."""
    match = _IMAGE_URL.fullmatch(url)
    return match is not None and match.group(1).lower() in hosts
