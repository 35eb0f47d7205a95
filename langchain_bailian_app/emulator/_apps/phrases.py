"""Fixed sentences of the default answers and reasoning, in Chinese and in English.

Templates only; `default_answers` selects the ones to use.
"""

from dataclasses import dataclass

from langchain_bailian_app.emulator.text import is_chinese


@dataclass(frozen=True)
class Phrases:
    """Templates of the sentences in one language."""

    prefix: str
    full_stop: str
    no_hits: str
    echo: str
    previous: str
    no_model: str
    session_facts: str
    memories: str
    attachments: str
    system_prompt: str
    tool_results: str
    question: str
    round: str
    hit_count: str
    hit: str
    reasoning_end: str


_CHINESE = Phrases(
    prefix="（本地模拟器）",
    full_stop="。",
    no_hits=(
        "知识库里没有找到与「{prompt}」有关的内容。"
        "我不是模型，只能从绑定的文档里摘出句子来回答，请换一个说法，或者问文档里写了的事情。"
    ),
    echo="你说的是：「{prompt}」。",
    previous="你的上一句是：「{previous}」。本次会话此前有{count}轮。",
    no_model=(
        "我不是模型，只会复述你的话、记住这次会话，并且按照百炼应用的格式一帧一帧地回答，"
        "供你在本地开发和测试。"
    ),
    session_facts="你在本次会话里说过：{facts}",
    memories="长期记忆里有：{facts}",
    attachments="收到{images}张图片和{files}个文件。",
    system_prompt="我的提示词是：「{system}」。",
    tool_results="函数返回：{results}",
    question="用户的问题是「{prompt}」。",
    round="这是第{number}轮，要接着前面的话说。",
    hit_count="知识库里找到{count}段资料。",
    hit="第{number}段讲{title}。",
    reasoning_end="我是本地模拟器，没有模型，就从现有的内容里组织回答。",
)
_ENGLISH = Phrases(
    prefix="(local emulator) ",
    full_stop=". ",
    no_hits=(
        'The knowledge base has nothing about "{prompt}". I am not a model: I can only '
        "quote sentences from the documents, so please ask about something in them. "
    ),
    echo='You said: "{prompt}". ',
    previous='Before that you said: "{previous}". Rounds so far in this session: {count}. ',
    no_model=(
        "I am not a model: I repeat what you say, remember this session, and answer frame by frame "
        "as Bailian applications do, for development and tests. "
    ),
    session_facts="In this session you told me: {facts} ",
    memories="Long-term memory holds: {facts} ",
    attachments="Received {images} image(s) and {files} file(s). ",
    system_prompt='My system prompt is: "{system}". ',
    tool_results="The functions returned: {results} ",
    question='The question is "{prompt}". ',
    round="This is round {number}, so the answer continues the conversation. ",
    hit_count="Passages found in the knowledge base: {count}. ",
    hit="Passage {number} is about {title}. ",
    reasoning_end="I am a local emulator without a model: I build the answer from what there is.",
)


def select_phrases(prompt: str) -> Phrases:
    """Return the phrases in the language of a prompt."""
    return _CHINESE if is_chinese(prompt) else _ENGLISH
