from __future__ import annotations

import pytest

from langchain_bailian_app.files._cache import UploadCache


@pytest.fixture
def upload_cache() -> UploadCache:
    return UploadCache(None, "here")
