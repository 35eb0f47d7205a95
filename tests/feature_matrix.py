"""Generator of the README table of features by kind of application, from a run on the emulator.

`python tests/feature_matrix.py` prints the table; with `--write` it updates README.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from langchain_bailian_app import (
    BailianAppChatModel,
    BailianRetriever,
    BizParams,
    RagOptions,
    workflow_file,
)
from langchain_bailian_app.emulator import App, BailianEmulator, Document, KnowledgeBase, Turn
from langchain_bailian_app.errors import BailianRequestError
from langchain_bailian_app.files import BailianFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_bailian_app.emulator._apps.app import AppKind

Check: TypeAlias = "Callable[[FeatureProbe], bool]"

README = Path(__file__).parents[1] / "README.md"
BEGIN_MARKER, END_MARKER = "<!-- features -->", "<!-- /features -->"


@dataclass(frozen=True)
class FeatureProbe:
    """An emulator, and the kind of application to try on it."""

    bailian: BailianEmulator
    kind: AppKind

    def make_model(self, app: dict[str, Any] | None = None, **fields: Any) -> BailianAppChatModel:
        """Add an application, and return a model for it with the settings its kind requires."""
        app_id = self.bailian.add_app(App("features", kind=self.kind, **(app or {})))
        connection = {"base_url": self.bailian.base_url, "api_key": self.bailian.api_key}
        version = {"agent_version": "2.0" if self.kind == "agent2" else None}
        return BailianAppChatModel(app_id=app_id, **connection | version | fields)

    def capture_turn(self, question: Any, app: dict[str, Any] | None = None, **fields: Any) -> Turn:
        """Ask an application a question, and return the turn that it received."""
        turns: list[Turn] = []

        def answer(turn: Turn) -> str:
            turns.append(turn)
            return "好。"

        self.make_model({"answer": answer} | (app or {}), **fields).invoke(question)
        return turns[-1]


# -- checks: each returns whether a feature has an effect -------------------------------------------

CONVERSATION = [HumanMessage("我叫小明。"), AIMessage("你好。"), HumanMessage("我叫什么？")]
QUESTION = "茶怎么冲泡？"
DOCUMENTS = [Document(f"{name}茶", f"{name}茶用沸水冲泡。", tags=[name]) for name in "红绿"]
TEAS = {"knowledge_bases": [KnowledgeBase("茶", DOCUMENTS)]}


def invoke_block_types(model: BailianAppChatModel, **settings: Any) -> set[str]:
    return {block["type"] for block in model.invoke(QUESTION, **settings).content_blocks}


def streams(**settings: Any) -> Check:
    return lambda harness: len([c for c in harness.make_model(**settings).stream("你好") if c.text]) > 1


def sends_history(**settings: Any) -> Check:
    return lambda harness: len(harness.capture_turn(CONVERSATION, **settings).history) == 1


def narrows_search(**settings: Any) -> Check:
    option_sets: tuple[dict[str, Any], ...] = ({}, settings)
    return lambda harness: (
        [len(harness.capture_turn(QUESTION, TEAS, **fields).hits) for fields in option_sets] == [2, 1]
    )


def sends_biz_params(biz_params: BizParams) -> Check:
    return lambda harness: (
        harness.capture_turn("你好", biz_params=biz_params).biz_params == biz_params.to_wire()
    )


def sends_parameters(**settings: Any) -> Check:
    return lambda harness: (
        settings.items() <= harness.capture_turn("你好", **settings).parameters.items()
    )


def sends_attachment(kind: str) -> Check:
    blocks: list[Any] = [QUESTION, {"type": kind, "url": f"https://files.example/{kind}"}]
    return lambda harness: len(getattr(harness.capture_turn([HumanMessage(blocks)]), f"{kind}s")) == 1


def check_single_call(harness: FeatureProbe) -> bool:
    return "你好" in harness.make_model().invoke("你好").text


def check_async(harness: FeatureProbe) -> bool:
    return bool(asyncio.run(harness.make_model().ainvoke("？")).text)


def check_files(harness: FeatureProbe) -> bool:
    if harness.kind == "workflow":
        return sends_biz_params(BizParams(report=workflow_file("https://files.example/a.pdf")))(harness)
    return sends_attachment("file")(harness)


def check_streaming(harness: FeatureProbe) -> bool:
    return streams(flow_stream_mode="message_format" if harness.kind == "workflow" else None)(harness)


def check_transcript(harness: FeatureProbe) -> bool:
    return "小明" in harness.capture_turn(CONVERSATION).prompt


def check_session(harness: FeatureProbe) -> bool:
    model = harness.make_model(
        {"answer": lambda turn: "".join(past.prompt for past in turn.history) or "？"}
    )
    session_id = model.invoke("我叫小明。").response_metadata["session_id"]
    return "小明" in model.invoke("我叫什么？", session_id=session_id).text


def check_system_message(harness: FeatureProbe) -> bool:
    turn = harness.capture_turn([SystemMessage("你是导游。"), *CONVERSATION[:1]])
    return "导游" in turn.system + turn.prompt


def check_prompt_variables(harness: FeatureProbe) -> bool:
    variables = BizParams(user_prompt_params={"city": "杭州"})
    return (
        "在杭州"
        in harness.capture_turn("你好", {"system": "你在${city}。"}, biz_params=variables).system
    )


def check_citations(harness: FeatureProbe) -> bool:
    blocks = harness.make_model(TEAS).invoke(QUESTION).content_blocks
    return any(block.get("annotations") for block in blocks)


def check_documents(harness: FeatureProbe) -> bool:
    return bool(BailianRetriever(model=harness.make_model(TEAS)).invoke(QUESTION))


def check_steps(harness: FeatureProbe) -> bool:
    types = invoke_block_types(harness.make_model(TEAS), has_thoughts=True)
    return not types.isdisjoint({"server_tool_call", "non_standard"})


def check_thinking(harness: FeatureProbe) -> bool:
    model = harness.make_model({"thinking": "hybrid"})
    return "reasoning" in invoke_block_types(model, enable_thinking=True) - invoke_block_types(model)


def check_memory(harness: FeatureProbe) -> bool:
    model = harness.make_model({"long_term_memory": True})
    model.invoke("我叫小明。", memory_id="a")
    return ["小明" in model.invoke("？", memory_id=user).text for user in "ab"] == [True, False]


def check_session_files(harness: FeatureProbe) -> bool:
    files = BailianFiles(
        workspace="features", base_url=harness.bailian.base_url, api_key=harness.bailian.api_key
    )
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "note.md")
        note.write_text("# 火星\n\n火星公司的保修期是三年。\n", "utf-8")
        options = RagOptions(session_file_ids=files.upload(note))
    return "三年" in harness.make_model().invoke("火星公司的保修期？", rag_options=options).text


def check_app_model(harness: FeatureProbe) -> bool:
    metadata = harness.make_model(app_model="another").invoke("你好").response_metadata
    return [usage["model_id"] for usage in metadata["model_usage"]] == ["another"]


# -- documentation status ---------------------------------------------------------------------------

# The codes, and the section numbers below, are those of WIRE, our notes on the protocol.
COLUMNS: dict[str, tuple[AppKind, str]] = {
    "A1": ("agent", "Agent"),  # API reference of workflows and agents 1.0, 2026-01
    "A2": ("agent2", "Agent 2.0"),  # API reference of Agent 2.0
    "W": ("workflow", "Workflow"),  # as A1, and the guide to calling workflows, 2026-02
    "L": ("rag", "legacy RAG"),  # page on legacy RAG applications
}


class Feature(NamedTuple):
    """A row of the table; the last three fields list columns, separated by spaces.

    `unverified` lists those marked "unverified live".
    """

    name: str
    check: Check
    wire_sections: str
    documented: str
    unverified: str = ""
    not_applicable: str = ""


FEATURES = [
    Feature("single call", check_single_call, "2.1", "A1 A2 W L"),
    Feature("streaming", check_streaming, "2.4, 2.5", "A1 A2 W L"),
    Feature("async", check_async, "2.1", "A1 A2 W L"),
    Feature(
        "several turns, as `messages`", sends_history(agent_version=None), "2.1, 2.6", "A1 W", "A2"
    ),
    Feature('several turns, `agent_version="2.0"`', check_transcript, "2.6", "A2", "", "A1 W L"),
    Feature("several turns, `legacy_history=True`", sends_history(legacy_history=True), "2.1", "L"),
    Feature("several turns, in a cloud session", check_session, "2.1, 2.2", "A1 A2 W L"),
    Feature("system message", check_system_message, "2.1", "A1 A2 W"),  # A2: as part of the prompt
    Feature("prompt variables, `user_prompt_params`", check_prompt_variables, "2.3, 2.6", "A1 A2"),
    Feature('flat variables, `BizParams(city="…")`', sends_biz_params(BizParams(days=3)), "2.3", "W"),
    Feature("user tokens", sends_biz_params(BizParams(user_defined_tokens={"tool": "t"})), "2.3", "A1"),
    Feature(
        "`rag_options`", narrows_search(rag_options=RagOptions(tags=["红"])), "2.4, 2.6", "A1", "A2"
    ),
    Feature("session files, `BailianFiles`", check_session_files, "2.4, 2.6, 5.2", "A1", "A2"),
    Feature("`BailianRetriever(app_id=…)`", check_documents, "2.4, 3.4", "A1 L"),
    Feature("citations", check_citations, "2.6, 3.3", "A1 L"),
    Feature("steps, `has_thoughts`", check_steps, "2.4", "A1 A2 W L"),
    Feature("deep thinking, `enable_thinking`", check_thinking, "2.4", "A1 A2 W"),
    Feature("long-term memory, `memory_id`", check_memory, "2.1, 2.6", "A1", "A2"),
    Feature("images", sends_attachment("image"), "2.1", "A1 A2 W"),
    Feature("files; in a workflow `workflow_file`", check_files, "2.1, 2.3", "A1 A2 W"),
    Feature("web search switch", sends_parameters(enable_web_search=True), "2.4, 2.6", "A1"),
    Feature("another model, `app_model`", check_app_model, "2.4", "A1 A2"),
    Feature("a node streams, `answer_node`", streams(answer_node="LLM"), "2.5", "W", "", "A1 A2 L"),
    Feature("`doc_tag_codes`", narrows_search(doc_tag_codes=["红"]), "2.1", "L"),
    Feature("sampling", sends_parameters(temperature=0.5, top_p=0.5, top_k=9, seed=1), "2.4", "L"),
    Feature("`max_tokens`", sends_parameters(max_tokens=9), "", "", "A1 A2 W L"),
    Feature("`mcp_servers`", sends_parameters(mcp_servers=["maps"]), "2.4", "", "A1 A2"),
]


# -- the table --------------------------------------------------------------------------------------


def render_cell(feature: Feature, column: str, bailian: BailianEmulator) -> str:
    """Try a feature, and return its cell; errors other than refusals are not caught."""
    if column in feature.not_applicable.split():
        return "–"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about undocumented fields
        try:
            result = (
                "works" if feature.check(FeatureProbe(bailian, COLUMNS[column][0])) else "no effect"
            )
        except (BailianRequestError, ValueError):
            result = "refused"
    if column in feature.documented.split():
        return result
    return "unverified live" if column in feature.unverified.split() else "not documented"


def render_table(bailian: BailianEmulator) -> str:
    """Try all features, and return the table with its markers, as in README."""
    titles = " | ".join(title for _, title in COLUMNS.values())
    lines = [BEGIN_MARKER, f"| | {titles} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for feature in FEATURES:
        cells = " | ".join(render_cell(feature, column, bailian) for column in COLUMNS)
        lines.append(f"| {feature.name} | {cells} |")
    return "\n".join([*lines, END_MARKER])


if __name__ == "__main__":
    with BailianEmulator() as emulator:
        rendered = render_table(emulator)
    if "--write" in sys.argv:
        text = README.read_text("utf-8")
        README.write_text(
            re.sub(f"{BEGIN_MARKER}.*?{END_MARKER}", lambda _: rendered, text, flags=re.DOTALL), "utf-8"
        )
    else:
        sys.stdout.write(f"{rendered}\n")
