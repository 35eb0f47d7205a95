"""An emulator with a search service and a chat service over the same knowledge bases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from langchain_bailian_app.emulator import (
    BailianEmulator,
    Clip,
    Document,
    KnowledgeBase,
    KnowledgeService,
    KnowledgeSwitches,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = Document(
    "规则",
    "# 开放\n周一闭馆，周二到周日开放。\n# 票价\n成人五十元，儿童二十元。\n![池](https://media.test/pool.jpg)",
    tags=["馆"],
    metadata={"year": 2026},
)
VIDEO = Document(
    "泳姿.mp4",
    clips=[
        Clip(
            "先踢腿，再划手",
            "泳池里有人踢水",
            4000,
            17000,
            "https://media.test/v.mp4",
            speakers=["教练"],
        ),
        Clip("", "教练演示换气", 17000, 20000, "https://media.test/v.mp4"),
    ],
)
PRICES = [{"名称": "泳镜", "价格": 99}, {"名称": "泳帽", "价格": 35}]


@pytest.fixture(scope="module")
def own_bailian() -> Iterator[BailianEmulator]:
    with BailianEmulator(seed_apps=False) as emulator:
        yield emulator


@pytest.fixture
def pool(own_bailian: BailianEmulator) -> BailianEmulator:
    """Return an emulator whose services and switches are those of a new one."""
    bases = [
        KnowledgeBase("泳池", [RULES, VIDEO], pipeline_id="pool"),
        KnowledgeBase("价目", rows=PRICES, pipeline_id="prices"),
    ]
    own_bailian.reset()
    own_bailian.knowledge_services.clear()
    own_bailian.add_knowledge_service(KnowledgeService("检索", bases, agent_id="aid-search"))
    own_bailian.add_knowledge_service(KnowledgeService("问答", bases, "chat", agent_id="aid-chat"))
    for name, value in vars(KnowledgeSwitches()).items():
        setattr(own_bailian.knowledge_switches, name, value)
    return own_bailian
