"""Feasibility by rules: what an idea touches, what that risks, and what would lower the risk."""

import json
import re
from dataclasses import dataclass

from pydantic import ValidationError

from mcp_platform.contracts.analysis import Feasibility, Idea, IdeaFacts, KnownMcps
from mcp_platform.contracts.mcps import McpConfig


@dataclass(frozen=True)
class _Rule:
    """One thing that an idea may want, how to notice it, and what follows from it."""

    capability: str
    pattern: re.Pattern[str]
    cost: float
    risk: str
    advice: tuple[str, ...]


def _words(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.IGNORECASE)


_RULES = (
    _Rule(
        "database",
        _words(r"\b(sql|database|postgres\w*|mysql|mongo\w*|sqlite|query|queries)\b|数据库|查询"),
        0.10,
        "Direct database access poses security risks",
        ("Add query validation and sanitization", "Use connection pooling for performance"),
    ),
    _Rule(
        "write",
        _words(
            r"\b(write|writes|insert|update|delete|drop|modify|create|send|post|publish)\b|写入|删除|修改"
        ),
        0.10,
        "Write operations could corrupt data",
        ("Implement read-only mode by default", "Mark tools that change something with destructiveHint"),
    ),
    _Rule(
        "production",
        _words(r"\b(prod|production|live system)\b|生产环境"),
        0.05,
        "Errors reach production systems at once",
        ("Start against a copy or a staging system",),
    ),
    _Rule(
        "shell",
        _words(r"\b(shell|exec|execute commands?|bash|terminal|subprocess|run code|eval)\b|命令行|执行代码"),
        0.30,
        "Running commands lets a manipulated model take over the machine",
        (
            "Offer a short list of fixed operations instead of free commands",
            "Run it in a container without network",
        ),
    ),
    _Rule(
        "files",
        _words(r"\b(files?|filesystem|director(y|ies)|folders?|upload|download)\b|文件|目录"),
        0.05,
        "File access can leak or overwrite what it was not meant to see",
        ("Limit access to one folder and refuse paths that lead out of it",),
    ),
    _Rule(
        "secrets",
        _words(r"\b(api[-_ ]?keys?|tokens?|passwords?|credentials?|secrets?|oauth)\b|密码|密钥|令牌"),
        0.05,
        "Credentials can leak through configurations, logs and answers",
        ("Refer to credentials as ${NAME} and give them the least rights",),
    ),
    _Rule(
        "network",
        _words(r"\b(https?|web|api|scrap(e|ing)|crawl\w*|fetch|internet|url)\b|网络|网页|抓取"),
        0.03,
        "Remote services may be slow, limited or away, and what they answer may try to steer the model",
        ("Set timeouts, cache answers, and treat fetched text as data",),
    ),
    _Rule(
        "personal_data",
        _words(
            r"\b(e-?mails?|personal|customers?|patients?|medical|health records?|gdpr|hipaa|payments?)\b"
            r"|个人信息|客户"
        ),
        0.08,
        "Personal data falls under privacy law",
        ("Return no more fields than are needed, and keep an audit trail",),
    ),
)

_FLAGS = {
    "database_access": "database",
    "file_access": "files",
    "network_access": "network",
    "shell_access": "shell",
    "write_access": "write",
}

_COMMON = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "by",
        "can",
        "for",
        "from",
        "in",
        "is",
        "it",
        "mcp",
        "of",
        "on",
        "or",
        "over",
        "server",
        "that",
        "the",
        "this",
        "to",
        "tool",
        "tools",
        "via",
        "with",
    ]
)
_FEASIBLE = 0.5
_BEST = 0.95
_UNDESCRIBED = 0.15
_BROKEN = 0.25


def find_capabilities(idea: Idea) -> list[str]:
    """Tell what the idea wants, by its words and by its explicit requirements, which win."""
    text = f"{idea.name}\n{idea.description}\n{json.dumps(idea.model_extra, ensure_ascii=False)}"
    text += json.dumps(
        [value for value in idea.requirements.values() if not isinstance(value, bool)], ensure_ascii=False
    )
    found = {rule.capability for rule in _RULES if rule.pattern.search(text)}
    for flag, capability in _FLAGS.items():
        if idea.requirements.get(flag) is True:
            found.add(capability)
        elif idea.requirements.get(flag) is False:
            found.discard(capability)
    if idea.requirements.get("read_only") is True:
        found.discard("write")
    elif idea.requirements.get("read_only") is False:
        found.add("write")
    return [rule.capability for rule in _RULES if rule.capability in found]


def server_kinds(idea: Idea) -> list[str]:
    """How the servers of an included configuration are reached; empty without a valid one."""
    try:
        return [server.kind for server in _included_config(idea).servers]
    except ValidationError:
        return []


def problems_of(idea: Idea) -> list[str]:
    """Tell what is wrong with an included configuration, in words."""
    try:
        _included_config(idea)
    except ValidationError as error:
        return [f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors()]
    return []


def count_words(text: str) -> int:
    """Count the words; in Chinese, which has no spaces, every character."""
    return len(re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text))


def important_words(idea: Idea) -> list[str]:
    """List the words of the name, then of the description, without the common ones and without repeats."""
    words = re.findall(r"\w{3,}", f"{idea.name} {idea.description}".lower())
    return list(dict.fromkeys(word for word in words if word not in _COMMON))


class RuleAnalyst:
    """Judges by the rules above alone: no model, and the same verdict every time."""

    async def judge(self, idea: Idea, facts: IdeaFacts, known: KnownMcps) -> Feasibility:
        """Start from the best score and subtract the cost of each thing that makes it harder."""
        rules = [rule for rule in _RULES if rule.capability in facts.capabilities]
        score = _BEST - sum(rule.cost for rule in rules)
        risks = [rule.risk for rule in rules]
        advice = [advice for rule in rules for advice in rule.advice]
        if facts.words < 3 and not idea.requirements:
            score -= _UNDESCRIBED
            risks.append("The idea is hardly described, so this verdict is a guess")
            advice.insert(0, "Say in a sentence or two what the tools take and return")
        if facts.problems:
            score -= _BROKEN
            risks.append("The included configuration is not valid")
            advice[:0] = [f"Correct the configuration: {problem}" for problem in facts.problems[:5]]
        if "command" in facts.servers:
            risks.append("A command runs with the rights of the user who starts it")
            advice.append("Pin the version of the package that the command runs")
        if known.similar:
            advice.append(f"Look first whether a registered MCP does it already: {', '.join(known.similar)}")
        score = round(min(max(score, 0.0), 1.0), 2)
        return Feasibility(
            score=score,
            is_feasible=score >= _FEASIBLE,
            reasoning=_reasoning(idea, facts, score),
            risks=risks,
            recommendations=advice,
            engine="rules",
        )


def _included_config(idea: Idea) -> McpConfig:
    extra = idea.model_extra or {}
    return McpConfig.model_validate({key: extra[key] for key in ("servers", "tools") if key in extra})


def _reasoning(idea: Idea, facts: IdeaFacts, score: float) -> str:
    verdict = "looks feasible" if score >= _FEASIBLE else "does not look feasible as it stands"
    wants = (
        f"It touches: {', '.join(facts.capabilities)}." if facts.capabilities else "It touches nothing risky."
    )
    return (
        f"{idea.name!r} {verdict} (score {score}). {wants}"
        " No language model was used: this verdict comes from the built-in rules alone."
    )
