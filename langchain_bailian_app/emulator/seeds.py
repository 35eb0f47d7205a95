"""The apps an emulator starts with: customs terms, a phone catalogue, and an echo.

Their documents are the package's own samples; their ids are made up and never change.
"""

from pathlib import Path

from langchain_bailian_app.emulator.apps import App
from langchain_bailian_app.emulator.knowledge import KnowledgeBase

CUSTOMS_APP_ID = "c0ffee00000000000000000000000001"
PHONES_APP_ID = "c0ffee00000000000000000000000002"
ECHO_APP_ID = "c0ffee00000000000000000000000003"

_SAMPLES = Path(__file__).parent / "samples"


def seed_apps() -> list[App]:
    """Build the default apps; the first one is the default app."""
    customs = KnowledgeBase.from_folder(_SAMPLES / "customs", name="海关术语", pipeline_id="customs001")
    for document in customs.documents:
        document.metadata = {"领域": "海关"}
        document.tags = ("海关", document.name)
    phones = KnowledgeBase.from_folder(_SAMPLES / "phones", name="青禾手机", pipeline_id="phones0001")
    return [
        App(
            name="海关术语助手",
            description="海关术语知识库，回答带引用，可开启思考",
            app_id=CUSTOMS_APP_ID,
            knowledge_bases=[customs],
            thinking="hybrid",
        ),
        App(
            name="手机导购",
            description="虚构品牌青禾的手机产品目录",
            app_id=PHONES_APP_ID,
            knowledge_bases=[phones],
        ),
        App(
            name="复读机",
            description="复述你的话，记得本次会话，并有长期记忆",
            app_id=ECHO_APP_ID,
            long_term_memory=True,
        ),
    ]
