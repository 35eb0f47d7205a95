"""Which kind of application has which feature: a table for README, made of a run.

`python tests/feature_matrix.py` prints it; with `--write` it puts it into README.
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

    from langchain_bailian_app.emulator._apps.app import Kind

Check: TypeAlias = "Callable[[Lab], bool]"

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- features -->", "<!-- /features -->"


@dataclass(frozen=True)
class Lab:
    """An emulator, and the kind of application that is tried on it."""

    bailian: BailianEmulator
    kind: Kind

    def model(self, app: dict[str, Any] | None = None, **fields: Any) -> BailianAppChatModel:
        """Add an application, and return a model for it, set up as its kind wants it."""
        app_id = self.bailian.add_app(App("features", kind=self.kind, **(app or {})))
        connection = {"base_url": self.bailian.base_url, "api_key": self.bailian.api_key}
        version = {"agent_version": "2.0" if self.kind == "agent2" else None}
        return BailianAppChatModel(app_id=app_id, **connection | version | fields)

    def seen(self, question: Any, app: dict[str, Any] | None = None, **fields: Any) -> Turn:
        """Return what an application gets to see of a question."""
        turns: list[Turn] = []

        def answer(turn: Turn) -> str:
            turns.append(turn)
            return "好。"

        self.model({"answer": answer} | (app or {}), **fields).invoke(question)
        return turns[-1]


# -- what is tried: each check says whether a feature has its effect ---------------------------------

CONVERSATION = [HumanMessage("我叫小明。"), AIMessage("你好。"), HumanMessage("我叫什么？")]
QUESTION = "茶怎么冲泡？"
DOCUMENTS = [Document(f"{name}茶", f"{name}茶用沸水冲泡。", tags=[name]) for name in "红绿"]
TEAS = {"knowledge_bases": [KnowledgeBase("茶", DOCUMENTS)]}


def block_types(model: BailianAppChatModel, **settings: Any) -> set[str]:
    return {block["type"] for block in model.invoke(QUESTION, **settings).content_blocks}


def streamed(**settings: Any) -> Check:
    return lambda lab: len([c for c in lab.model(**settings).stream("你好") if c.text]) > 1


def told(**settings: Any) -> Check:
    return lambda lab: len(lab.seen(CONVERSATION, **settings).history) == 1


def narrowed(**settings: Any) -> Check:
    both: tuple[dict[str, Any], ...] = ({}, settings)
    return lambda lab: [len(lab.seen(QUESTION, TEAS, **asked).hits) for asked in both] == [2, 1]


def given(biz_params: BizParams) -> Check:
    return lambda lab: lab.seen("你好", biz_params=biz_params).biz_params == biz_params.to_wire()


def set_to(**settings: Any) -> Check:
    return lambda lab: settings.items() <= lab.seen("你好", **settings).parameters.items()


def attached(kind: str) -> Check:
    blocks: list[Any] = [QUESTION, {"type": kind, "url": f"https://files.example/{kind}"}]
    return lambda lab: len(getattr(lab.seen([HumanMessage(blocks)]), f"{kind}s")) == 1


def files(lab: Lab) -> bool:
    if lab.kind == "workflow":
        return given(BizParams(report=workflow_file("https://files.example/a.pdf")))(lab)
    return attached("file")(lab)


def streaming(lab: Lab) -> bool:
    return streamed(flow_stream_mode="message_format" if lab.kind == "workflow" else None)(lab)


def transcript(lab: Lab) -> bool:
    return "小明" in lab.seen(CONVERSATION).prompt


def session(lab: Lab) -> bool:
    model = lab.model({"answer": lambda turn: "".join(past.prompt for past in turn.history) or "？"})
    session_id = model.invoke("我叫小明。").response_metadata["session_id"]
    return "小明" in model.invoke("我叫什么？", session_id=session_id).text


def system(lab: Lab) -> bool:
    turn = lab.seen([SystemMessage("你是导游。"), *CONVERSATION[:1]])
    return "导游" in turn.system + turn.prompt


def prompt_variables(lab: Lab) -> bool:
    variables = BizParams(user_prompt_params={"city": "杭州"})
    return "在杭州" in lab.seen("你好", {"system": "你在${city}。"}, biz_params=variables).system


def citations(lab: Lab) -> bool:
    blocks = lab.model(TEAS).invoke(QUESTION).content_blocks
    return any(block.get("annotations") for block in blocks)


def documents(lab: Lab) -> bool:
    return bool(BailianRetriever(model=lab.model(TEAS)).invoke(QUESTION))


def steps(lab: Lab) -> bool:
    types = block_types(lab.model(TEAS), has_thoughts=True)
    return not types.isdisjoint({"server_tool_call", "non_standard"})


def thinking(lab: Lab) -> bool:
    model = lab.model({"thinking": "hybrid"})
    return "reasoning" in block_types(model, enable_thinking=True) - block_types(model)


def memory(lab: Lab) -> bool:
    model = lab.model({"long_term_memory": True})
    model.invoke("我叫小明。", memory_id="a")
    return ["小明" in model.invoke("？", memory_id=user).text for user in "ab"] == [True, False]


def session_files(lab: Lab) -> bool:
    files = BailianFiles(
        workspace_id="features",
        endpoint=lab.bailian.openapi_endpoint,
        access_key_id=lab.bailian.access_key_id,
        access_key_secret=lab.bailian.access_key_secret,
    )
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, "note.md")
        note.write_text("# 火星\n\n火星公司的保修期是三年。\n", "utf-8")
        options = RagOptions(session_file_ids=files.upload(note))
    return "三年" in lab.model().invoke("火星公司的保修期？", rag_options=options).text


def another_model(lab: Lab) -> bool:
    metadata = lab.model(app_model="another").invoke("你好").response_metadata
    return [usage["model_id"] for usage in metadata["model_usage"]] == ["another"]


# -- what is documented -----------------------------------------------------------------------------

# The codes, and the sections below, are those of WIRE, our notes on the protocol.
COLUMNS: dict[str, tuple[Kind, str]] = {
    "A1": ("agent", "Agent"),  # API reference of workflows and agents 1.0, 2026-01
    "A2": ("agent2", "Agent 2.0"),  # API reference of Agent 2.0
    "W": ("workflow", "Workflow"),  # as A1, and the guide to calling workflows, 2026-02
    "L": ("rag", "legacy RAG"),  # page on legacy RAG applications
}


class Feature(NamedTuple):
    """A row: its last three name columns. `unverified` is what README says of the live service."""

    name: str
    check: Check
    wire: str
    documented: str
    unverified: str = ""
    senseless: str = ""


FEATURES = [
    Feature("single call", lambda lab: "你好" in lab.model().invoke("你好").text, "2.1", "A1 A2 W L"),
    Feature("streaming", streaming, "2.4, 2.5", "A1 A2 W L"),
    Feature("async", lambda lab: bool(asyncio.run(lab.model().ainvoke("？")).text), "2.1", "A1 A2 W L"),
    Feature("several turns, as `messages`", told(agent_version=None), "2.1, 2.6", "A1 W", "A2"),
    Feature('several turns, `agent_version="2.0"`', transcript, "2.6", "A2", "", "A1 W L"),
    Feature("several turns, `legacy_history=True`", told(legacy_history=True), "2.1", "L"),
    Feature("several turns, in a cloud session", session, "2.1, 2.2", "A1 A2 W L"),
    Feature("system message", system, "2.1", "A1 A2 W"),  # A2: a part of the prompt
    Feature("prompt variables, `user_prompt_params`", prompt_variables, "2.3, 2.6", "A1 A2"),
    Feature('flat variables, `BizParams(city="…")`', given(BizParams(days=3)), "2.3", "W"),
    Feature("user tokens", given(BizParams(user_defined_tokens={"tool": "t"})), "2.3", "A1"),
    Feature("`rag_options`", narrowed(rag_options=RagOptions(tags=["红"])), "2.4, 2.6", "A1", "A2"),
    Feature("session files, `BailianFiles`", session_files, "2.4, 2.6, 5.2", "A1", "A2"),
    Feature("`BailianRetriever(app_id=…)`", documents, "2.4, 3.4", "A1 L"),
    Feature("citations", citations, "2.6, 3.3", "A1 L"),
    Feature("steps, `has_thoughts`", steps, "2.4", "A1 A2 W L"),
    Feature("deep thinking, `enable_thinking`", thinking, "2.4", "A1 A2 W"),
    Feature("long-term memory, `memory_id`", memory, "2.1, 2.6", "A1", "A2"),
    Feature("images", attached("image"), "2.1", "A1 A2 W"),
    Feature("files; in a workflow `workflow_file`", files, "2.1, 2.3", "A1 A2 W"),
    Feature("web search switch", set_to(enable_web_search=True), "2.4, 2.6", "A1"),
    Feature("another model, `app_model`", another_model, "2.4", "A1 A2"),
    Feature("a node streams, `answer_node`", streamed(answer_node="LLM"), "2.5", "W", "", "A1 A2 L"),
    Feature("`doc_tag_codes`", narrowed(doc_tag_codes=["红"]), "2.1", "L"),
    Feature("sampling", set_to(temperature=0.5, top_p=0.5, top_k=9, seed=1), "2.4", "L"),
    Feature("`max_tokens`", set_to(max_tokens=9), "", "", "A1 A2 W L"),
    Feature("`mcp_servers`", set_to(mcp_servers=["maps"]), "2.4", "", "A1 A2"),
]


# -- the table --------------------------------------------------------------------------------------


def cell(feature: Feature, code: str, bailian: BailianEmulator) -> str:
    """Try a feature, and return what the table says; other errors than refusals are not caught."""
    if code in feature.senseless.split():
        return "–"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints at what is not documented
        try:
            found = "works" if feature.check(Lab(bailian, COLUMNS[code][0])) else "no effect"
        except (BailianRequestError, ValueError):
            found = "refused"
    if code in feature.documented.split():
        return found
    return "unverified live" if code in feature.unverified.split() else "not documented"


def table(bailian: BailianEmulator) -> str:
    """Try everything, and return the block of README."""
    titles = " | ".join(title for _, title in COLUMNS.values())
    lines = [BEGIN, f"| | {titles} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for feature in FEATURES:
        cells = " | ".join(cell(feature, code, bailian) for code in COLUMNS)
        lines.append(f"| {feature.name} | {cells} |")
    return "\n".join([*lines, END])


if __name__ == "__main__":
    with BailianEmulator() as emulator:
        made = table(emulator)
    if "--write" in sys.argv:
        text = README.read_text("utf-8")
        README.write_text(re.sub(f"{BEGIN}.*?{END}", lambda _: made, text, flags=re.DOTALL), "utf-8")
    else:
        sys.stdout.write(f"{made}\n")
