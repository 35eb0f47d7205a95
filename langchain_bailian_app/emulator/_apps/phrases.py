"""The fixed sentences of the answers, in Chinese and in English.

Templates only; `answers` decides which of them to say.
"""

from dataclasses import dataclass

from langchain_bailian_app.emulator.text import is_chinese


@dataclass(frozen=True)
class Phrases:
    """What answers are made of, in one language."""

    prefix: str
    stop: str
    nothing_found: str
    echo: str
    previous: str
    no_model: str
    told: str
    remembered: str
    attached: str
    system: str
    results: str


_CHINESE = Phrases(
    prefix="（本地模拟器）",
    stop="。",
    nothing_found=(
        "知识库里没有找到与「{prompt}」有关的内容。"
        "我不是模型，只能从绑定的文档里摘出句子来回答，请换一个说法，或者问文档里写了的事情。"
    ),
    echo="你说的是：「{prompt}」。",
    previous="你的上一句是：「{previous}」。本次会话此前有{count}轮。",
    no_model=(
        "我不是模型，只会复述你的话、记住这次会话，并且按照百炼应用的格式一帧一帧地回答，"
        "供你在本地开发和测试。"
    ),
    told="你在本次会话里说过：{facts}",
    remembered="长期记忆里有：{facts}",
    attached="收到{images}张图片和{files}个文件。",
    system="我的提示词是：「{system}」。",
    results="函数返回：{results}",
)
_ENGLISH = Phrases(
    prefix="(local emulator) ",
    stop=". ",
    nothing_found=(
        'The knowledge base has nothing about "{prompt}". I am no model: I can only quote '
        "sentences of the documents, so please ask for something they say. "
    ),
    echo='You said: "{prompt}". ',
    previous='Before that you said: "{previous}". Rounds so far in this session: {count}. ',
    no_model=(
        "I am no model: I repeat what you say, remember this session, and answer frame by frame "
        "as Bailian applications do, for development and tests. "
    ),
    told="In this session you told me: {facts} ",
    remembered="Long-term memory holds: {facts} ",
    attached="Received {images} image(s) and {files} file(s). ",
    system='My system prompt is: "{system}". ',
    results="The functions returned: {results} ",
)


def phrases_for(prompt: str) -> Phrases:
    """The phrases in the language of a prompt."""
    return _CHINESE if is_chinese(prompt) else _ENGLISH
