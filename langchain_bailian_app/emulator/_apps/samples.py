"""Sample apps of the emulator: customs terms, a phone catalog, an echo, and a workflow.

The documents are part of the package. The app ids are invented and never change.
"""

from pathlib import Path

from langchain_bailian_app.emulator._apps.app import App
from langchain_bailian_app.emulator._apps.nodes import Node
from langchain_bailian_app.emulator._apps.turn import Turn
from langchain_bailian_app.emulator._knowledge.knowledge_base import KnowledgeBase
from langchain_bailian_app.emulator.text import is_chinese

CUSTOMS_APP_ID = "c0ffee00000000000000000000000001"
PHONES_APP_ID = "c0ffee00000000000000000000000002"
ECHO_APP_ID = "c0ffee00000000000000000000000003"
WORKFLOW_APP_ID = "c0ffee00000000000000000000000004"
SEARCH_SERVICE_ID, CHAT_SERVICE_ID = "aid-customs", "aid-customs-chat"

_SAMPLES = Path(__file__).parents[1] / "samples"


def build_sample_apps() -> list[App]:
    """Build the sample apps; the first one is the default app."""
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
        _build_travel_planner(),
    ]


def _build_travel_planner() -> App:
    """Build a workflow of two LLM nodes, one with reasoning, and an End node that joins their text.

    It answers in the language of the question.
    """
    return App(
        name="旅行规划",
        description="对话型工作流，变量 city（字符串）放在 biz_params 里",
        app_id=WORKFLOW_APP_ID,
        kind="workflow",
        variables={"city": str},
        nodes=[
            Node("开始", "Start", exec_ms=0),
            Node("景点", text=_plan_sights, reasoning=_plan_reasoning, returns=False, exec_ms=1200),
            Node("美食", text=_plan_food, returns=False, exec_ms=700),
            Node("结束", "End", text=_join_plan),
        ],
    )


def _plan_reasoning(turn: Turn) -> str:
    city, question = turn.biz_params["city"], turn.prompt
    if is_chinese(question):
        return f"用户想去{city}，说的是「{question}」。先排三天的路线，近的放在一天里。"
    return (
        f'The user wants to go to {city} and asked "{question}". '
        "I plan three days, with places that are close together on the same day."
    )


def _plan_sights(turn: Turn) -> str:
    city = turn.biz_params["city"]
    if is_chinese(turn.prompt):
        return (
            f"（本地模拟器）去{city}玩三天：第一天老城和博物馆，第二天山水，第三天市集。"
            "我不是模型，只把你给的城市填进模板。"
        )
    return (
        f"(local emulator) Three days in {city}: the old town and the museums, then the hills and "
        "lakes, then the markets. I am not a model: I only insert your city into a template."
    )


def _plan_food(turn: Turn) -> str:
    city = turn.biz_params["city"]
    if is_chinese(turn.prompt):
        return f"在{city}，早上吃面，晚上逛夜市。"
    return f"In {city}, have noodles in the morning, and go to the night market in the evening."


def _join_plan(turn: Turn) -> str:
    city, sights, food = turn.biz_params["city"], _plan_sights(turn), _plan_food(turn)
    if is_chinese(turn.prompt):
        return f"【行程】{sights}\n【吃什么】{food}\n祝你在{city}玩得开心！"
    return f"Sights: {sights}\nFood: {food}\nEnjoy {city}!"
