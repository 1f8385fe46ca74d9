"""What an idea wants to touch, by its words and by its explicit requirements."""

import json
import re
from dataclasses import dataclass

from activities.feasibility_rules.findings import Finding
from activities.feasibility_rules.reading import included_config
from mcp_platform.contracts.analysis import Idea
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.packages import package_of


@dataclass(frozen=True)
class _Wish:
    """One thing that an idea may want, how to notice it, and what follows from it."""

    capability: str
    pattern: re.Pattern[str]
    cost: int
    risk: str
    advice: tuple[str, ...]


def _words(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.IGNORECASE)


_WISHES = (
    _Wish(
        "database",
        _words(r"\b(sql|database|postgres\w*|mysql|mongo\w*|sqlite|query|queries)\b|数据库"),
        10,
        "Direct database access poses security risks",
        ("Add query validation and sanitization", "Use connection pooling for performance"),
    ),
    _Wish(
        "write",
        _words(
            r"\b(write|writes|insert|update|delete|drop|modify|create|send|post|publish)\b"
            r"|写入|删除|修改|更新|发送|发布"
        ),
        10,
        "Write operations could corrupt data",
        ("Implement read-only mode by default", "Mark tools that change something with destructiveHint"),
    ),
    _Wish(
        "production",
        _words(
            r"\b(prod|production|live system)\b"
            r"|生产(环境|系统|数据库|服务器|集群|库(?!存))|线上(环境|系统|数据库|服务器|集群|库(?!存))"
        ),
        5,
        "Errors reach production systems at once",
        ("Start against a copy or a staging system",),
    ),
    _Wish(
        "shell",
        _words(
            r"\b(shell|exec|bash|terminal|subprocess|eval)\b"
            r"|\b(run|execute)(s|ing)?\s+(\w+\s+){0,2}(commands?|code|scripts)\b"
            r"|命令行|执行代码|执行命令|系统命令|任意命令|任意代码"
        ),
        30,
        "Running commands lets a manipulated model take over the machine",
        (
            "Offer a short list of fixed operations instead of free commands",
            "Run it in a container without network",
        ),
    ),
    _Wish(
        "files",
        _words(
            r"\b(files?|filesystem|director(y|ies)|folders?|upload|download)\b|文件|目录"
            r"|(?<![\w:/.])(~|\$HOME|/etc|/home|/r[o]ot)/[\w./-]+|\bid_(rsa|ed25519)\b"
        ),
        5,
        "File access can leak or overwrite what it was not meant to see",
        ("Limit access to one folder and refuse paths that lead out of it",),
    ),
    _Wish(
        "secrets",
        _words(
            r"\b(api[-_ ]?keys?|tokens?|passwords?|credentials?|secrets?|oauth)\b"
            r"|密码|密钥|令牌|凭据|凭证|私钥"
            r"|\b(aws|ssh|gpg|private|access) keys?\b|\bid_(rsa|ed25519)\b"
            r"|/etc/shadow\b|/\.(ssh|aws|gnupg|netrc)\b"
        ),
        5,
        "Credentials can leak through configurations, logs and answers",
        ("Refer to credentials as ${NAME} and give them the least rights",),
    ),
    _Wish(
        "network",
        _words(r"\b(https?|web|api|scrap(e|ing)|crawl\w*|fetch|internet|url)\b|网络|网页|抓取|爬取|接口"),
        3,
        "Remote services may be slow, limited or away, and what they answer may try to steer the model",
        ("Set timeouts, cache answers, and treat fetched text as data",),
    ),
    _Wish(
        "personal_data",
        _words(
            r"\b(e-?mails?|personal|customers?|patients?|medical|health records?|gdpr|hipaa|payments?)\b"
            r"|个人信息|客户|病历|患者|身份证|邮件"
        ),
        8,
        "Personal data falls under privacy law",
        ("Return no more fields than are needed, and keep an audit trail",),
    ),
    _Wish(
        "money",
        _words(
            r"\b(transfers?|withdraws?|moves?|sends?)\s+(money|funds)\b|\bmakes? payments?\b"
            r"|\bplaces? (trades|orders)\b|\bwire transfers?\b|转账|汇款|付款|下单"
        ),
        15,
        "A payment or an order cannot be taken back",
        ("Let a person confirm each payment, and bound the sum of a day",),
    ),
    _Wish(
        "machines",
        _words(
            r"\b(plc|scada|industrial control|medical devices?|door locks?|unlocks? doors?|drones?|robots?)\b"
            r"|工业控制|医疗设备|门锁|无人机|机器人"
        ),
        15,
        "What moves in the real world can hurt people",
        ("Keep limits and an emergency stop outside of what the model can reach",),
    ),
    _Wish(
        "unattended",
        _words(
            r"\bwithout\s+(any\s+)?(human\s+)?(approval|confirmation|review|asking)\b"
            r"|\bautomatically\s+(deletes?|approves?|merges?|deploys?|transfers?|pays?|buys?|sells?)\b"
            r"|无需(任何)?(确认|审批|人工)|不(需要|用|经)(确认|审批)|自动(删除|转账|付款|审批|合并|部署)"
        ),
        15,
        "Nobody looks before something is changed",
        ("Ask a person before each change that cannot be undone",),
    ),
    _Wish(
        "unbounded",
        _words(
            r"\b(any|arbitrary|free|all)\s+(shell\s+|system\s+)?(commands?|code|sql)\b|\bas root\b|\bsudo\b"
            r"|\b(full|unrestricted|complete)\s+(system|disk|file\s?system|shell|admin\w*)?\s*access\b"
            r"|任意(的)?(执行)?(命令|代码|文件|SQL)|root\s*权限|所有文件|完全(控制|访问)|管理员权限"
        ),
        20,
        "It asks for more rights than any one task needs",
        ("Name the operations that are needed, and leave out everything else",),
    ),
)

_FLAGS = {
    "database_access": "database",
    "file_access": "files",
    "network_access": "network",
    "shell_access": "shell",
    "write_access": "write",
}
_FENCED = _words(r"\bsandbox\w*|\bcontainers?\b|\bisolated\b|沙箱|沙盒|容器|隔离")
_READING = _words(r"\bread[- ]?only\b|只读|仅读取")

_FINAL = frozenset({"machines", "money", "production"})
"""What cannot be undone, and so should not be done unattended."""
_ARGUMENTS = frozenset({"args", "packageArguments", "runtimeArguments"})
_MOST_READ = 40_000

CAPABILITIES = tuple(wish.capability for wish in _WISHES)


def find_capabilities(idea: Idea) -> list[str]:
    """Tell what the idea wants, by its words and by its explicit requirements, which win."""
    found = _found(idea)
    return [capability for capability in CAPABILITIES if capability in found]


def wish_findings(idea: Idea, capabilities: list[str]) -> list[Finding]:
    """Give what follows from what the idea wants."""
    sources = _found(idea)
    found = [
        Finding(
            rule=wish.capability,
            risk=wish.risk,
            kind=SourceKind.REQUEST,
            source=sources.get(wish.capability, wish.capability),
            cost=wish.cost,
            advice=wish.advice,
        )
        for wish in _WISHES
        if wish.capability in capabilities
    ]
    final = sorted(_FINAL & set(capabilities))
    if "unattended" in capabilities and final:
        found.append(
            Finding(
                rule="unattended_and_final",
                risk=f"Nobody looks before something is done that cannot be undone: {', '.join(final)}",
                kind=SourceKind.REQUEST,
                source=f"{sources.get('unattended', 'unattended')} with {', '.join(final)}"
                " (rule unattended_and_final)",
                cost=20,
            )
        )
    return found


def said_in(idea: Idea) -> str:
    """Give all that the idea says in words: values of requirements and of its own fields too.

    Arguments of servers are left out, for they may be code; the packages among them say what is used.
    """
    extra = _without_arguments(idea.model_extra)
    values = [value for value in idea.requirements.values() if not isinstance(value, bool)]
    packages = [package_of(server) for server in included_config(idea).config.servers]
    names = " ".join(package.name for package in packages if package)
    said = [json.dumps(each, ensure_ascii=False) for each in (extra, values)]
    return "\n".join([idea.name, idea.description, *said, names])[:_MOST_READ]


def _without_arguments(given: object) -> object:
    if isinstance(given, dict):
        return {key: _without_arguments(value) for key, value in given.items() if key not in _ARGUMENTS}
    if isinstance(given, list):
        return [_without_arguments(value) for value in given]
    return given


def is_reading_only(idea: Idea) -> bool:
    """Whether the idea says of itself that it changes nothing."""
    wanted = idea.requirements.get("read_only")
    if isinstance(wanted, bool):
        return wanted
    return bool(_READING.search(f"{idea.name}\n{idea.description}"))


def _found(idea: Idea) -> dict[str, str]:
    """Give each capability that is wanted, with the words that say so."""
    text = said_in(idea)
    found = {}
    for wish in _WISHES:
        match = wish.pattern.search(text)
        if match:
            found[wish.capability] = f"the words {match[0]!r} (rule {wish.capability})"
    if _FENCED.search(text):
        found.pop("unbounded", None)
    _heed(idea, found)
    return found


def _heed(idea: Idea, found: dict[str, str]) -> None:
    for flag, capability in _FLAGS.items():
        if idea.requirements.get(flag) is True:
            found[capability] = f"requirements.{flag} (rule {capability})"
        elif idea.requirements.get(flag) is False:
            found.pop(capability, None)
    if is_reading_only(idea):
        found.pop("write", None)
    elif idea.requirements.get("read_only") is False:
        found["write"] = "requirements.read_only (rule write)"
