"""The words of an idea: how many, and which of them say what it is about."""

import re
from typing import Final

from activities.feasibility_rules.reading import included_config
from mcp_platform.contracts.analysis import Idea

_CHINESE: Final = re.compile("[\u3400-\u9fff]+")
_LATIN: Final = re.compile(r"[^\W_\u3400-\u9fff]{3,}")
_LONG: Final = 6
"""Letters from which a word's ending is left out: `watching` is found where `watch` stands."""
_ENDING: Final = re.compile(r"(ing|ies|ed|es|s)$")

_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        """
        a about all also an and any are as at be by can com could do does each for from get gets
        give gives has have help http https if in into is it its let like make makes mcp more need
        needs new not of on one or our out over server servers should show shows so some tell tells
        than that the their them then there these they this to tool tools use used user users using
        via want wants was we what when where which who will with would www you your
        """,
    )
)
_COMMON_CHINESE: Final = frozenset(
    re.findall(
        r"\w+",
        """
        一个 我们 可以 需要 工具 服务 务器 能够 用户 使用 通过 这个 进行
        以及 或者 并且 想要 希望 提供 帮助 查看 实现
        """,
    )
)
_VAGUE: Final = _COMMON | frozenset(
    re.findall(
        r"\w+",
        """
        agent ai amazing anybody anything app application assistant awesome being best better bot build
        cool create easier easy every everybody everyone everything faster good great helpful helps i
        idea improve just kind life magic me nice no people please powerful really simple smart some
        somebody someone something sort stuff super thing things useful very whatever work works
        """,
    )
)
"""English words by which nobody knows yet what is wanted."""
_VAGUE_CHINESE: Final = re.compile(
    "工具|服务器?|东西|应用|程序|功能|一个|一些|什么|随便|任何|所有|事情|大家|人们|用户|我们?|你们?|他们?|帮助?|请|想要?|需要"
    "|可以|能够?|希望|实现|提供|制?做|好用|有用|强大|智能|神奇|厉害|酷|方便|简单|轻松|更好?|很|让|给|的|地|得|了|吧|呢|是|和|要|个"
    "|生活|工作|变"
)
_WORD: Final = re.compile(r"[^\W\d_\u4e00-\u9fff]{2,}")


def count_words(text: str) -> int:
    """Count the words; in Chinese, which has no spaces, every character.

    A text all of whose words say nothing of what is wanted has none.
    """
    if not says_something(text):
        return 0
    return len(re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text))


def says_something(text: str) -> bool:
    """Tell whether any word says what is wanted: `a cool tool that does something useful` has none."""
    if any(word.lower() not in _VAGUE for word in _WORD.findall(text)):
        return True
    rest = _VAGUE_CHINESE.sub(" ", text)
    return len(re.findall("[\u4e00-\u9fff]", rest)) > 1


def important_words(text: str) -> list[str]:
    """List the words that say what a text is about, each once: of Chinese, every two neighbours."""
    found: list[tuple[int, str]] = []
    for match in _LATIN.finditer(text):
        word = match[0].lower()
        if word not in _COMMON:
            stem = _ENDING.sub("", word) if len(word) >= _LONG else word
            found.append((match.start(), stem))
    for match in _CHINESE.finditer(text):
        run = match[0]
        for place in range(len(run) - 1):
            if run[place : place + 2] not in _COMMON_CHINESE:
                found.append((match.start() + place, run[place : place + 2]))
    return list(dict.fromkeys(word for _, word in sorted(found)))


def server_kinds(idea: Idea) -> list[str]:
    """How the servers of an included configuration are reached; empty without a valid one."""
    return [server.kind for server in included_config(idea).config.servers]


def problems_of(idea: Idea) -> list[str]:
    """Tell what is wrong with an included configuration, in words."""
    return included_config(idea).problems
