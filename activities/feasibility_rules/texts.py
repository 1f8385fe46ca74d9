"""Texts that want more than to describe: hidden characters, orders to a model, theft.

Tool descriptions are read by models, and so are the usual place of an attack ("tool poisoning"). What is
found is reported and never followed.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from activities.feasibility_rules.findings import Finding, short
from mcp_platform.contracts.evidence import SourceKind

_FLAG_EMOJI = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")
_HIDDEN = re.compile(
    "[\u200b\u2060-\u2064\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]|(?<=[A-Za-z])[\u200c\u200d](?=[A-Za-z])"
    "|(?<=.)\ufeff"
)
"""Zero width, direction overrides and tag characters: what people do not see and models read."""
_LONGEST_READ = 20_000


def _any(*expressions: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{each})" for each in expressions), re.IGNORECASE)


_ORDERS = _any(
    r"\b(ignore|disregard|forget|override)\b[^.\n]{0,40}\b(previous|prior|above|earlier|all|other|system)\b"
    r"[^.\n]{0,30}\b(instructions?|prompts?|rules?|messages?|guidelines?)\b",
    r"\b(do not|don't|never|without)\b[^.\n]{0,30}\b(tell|mention|inform|reveal|notify|telling|mentioning"
    r"|informing|notifying)\b[^.\n]{0,30}\b(users?|human|anyone|anybody)\b",
    r"<\s*/?\s*(important|system|instructions?|secret|hidden|admin)\s*>",
    r"\byou are now (a|an|in)\b|\bnew instructions?\s*:",
    r"\b(before|after|when)\b[^.\n]{0,40}\b(using|calling|invoking)\b[^.\n]{0,60}\b(read|open|cat)\b"
    r"[^.\n]{0,40}(\bfiles?\b|~/|\.env\b|\.ssh\b|\bcredentials?\b)",
    r"(忽略|无视|忘记)(掉)?(之前|以上|前面|先前|上面|所有|一切)[^。\n]{0,12}(指令|提示|规则|说明|要求|命令)",
    r"(不要|不得|切勿|别|禁止)(告诉|告知|通知|提醒|让)[^。\n]{0,8}(用户|使用者|任何人|他人)",
)
_SECRETS = (
    r"(api[-_ ]?keys?|passwords?|credentials?|tokens?|secrets?|(private|ssh|aws|gpg) keys?"
    r"|environment variables?"
    r"|cookies|conversations?|chat history)"
)
_WHOSE = (
    r"((all|the|any|every|each|your|their|its|these|stored|full|of|users?'?s?|customers?'?s?|a|and)\s+){0,5}"
)
_SECRETS_ZH = r"(密码|密钥|令牌|凭据|凭证|私钥|聊天记录|对话(记录|历史)|环境变量|cookies?)"
_THEFT = _any(
    # What is sent must be the secret itself: many send messages with the help of one.
    rf"\b(send|post|upload|forward|exfiltrate|transmit|leak|submit|copy)(s|ing)?\s+{_WHOSE}{_SECRETS}\b[^.\n]{{0,30}}"
    r"\b(in)?to\s+(https?://|\S+@\S+\.\S+"
    r"|(our|my|an?|the) (\w+ )?(server|address|endpoint|webhook|site|account|pastebin))",
    rf"{_SECRETS_ZH}[^。\n]{{0,20}}(发送|上传|转发|传到|传给|发到|发给|外传)",
    r"\b(read|open|cat|include|pass|send|upload|steal|copy|exfiltrate|contents? of)\b[^.\n]{0,60}"
    r"((~|\$HOME|/\w+(/\w+)?)/\.(ssh|aws|gnupg|kube|netrc|cursor)|\bid_(rsa|ed25519)\b|/etc/shadow)",
    r"(读取|打开|上传|发送)[^。\n]{0,30}((~|/\w+(/\w+)?)/\.(ssh|aws|gnupg|kube)|id_(rsa|ed25519)|/etc/shadow)",
)
_SPYING = r"(forward|send|copy|copie|record|read|monitor|track|watch|log|upload|collect|photograph)(s|ing)?"
_WISHED_THEFT = _any(
    # Wishes are told in the third person too, where tools of honest authors say what they read.
    r"\b(read|open|copy|copie|collect|gather|dump|grab|take)(s|ing)?\b[^.\n]{0,60}(\bid_(rsa|ed25519)\b|/etc/shadow)",
    r"\b(send|upload|post|forward|transmit|leak|exfiltrate)(s|ing)?\b[^.\n]{0,60}"
    r"((~|\$HOME|/\w+(/\w+)?)/\.(ssh|aws|gnupg|kube|netrc)|\bid_(rsa|ed25519)\b|/etc/shadow)",
    r"\b(keys?|passwords?|credentials?|cookies|secrets?)\b[^.\n]{0,60}\b(send|upload|post|forward|transmit)(s|ing)?"
    r"\s+(them|it|these|those|everything)\s+(in)?to\s+"
    r"(https?://|(my|an?) (\w+ )?(server|address|site|pastebin))",
    r"(/\.(ssh|aws|gnupg|kube)\b|id_(rsa|ed25519)|/etc/shadow)[^。\n]{0,20}(发送|上传|转发|传到|传给|发到|发给)",
)
_WATCHING = re.compile(
    r"(\b(detect|prevent|block|warn|alert)|检测|识别|阻止|预警|防止)((?!\band\b)[^,;\n\uff0c\uff1b并]){0,90}$",
    re.IGNORECASE,
)
"""Who looks out for what follows; what stands after an `and` is done, and not looked out for."""
_HARM = _any(
    r"\b(steals?|stealing|harvests? (passwords?|credentials?|e-?mails?|cookies)|keylog\w*|phish\w*"
    r"|ransomware|malware|botnet|ddos|spyware|brute[- ]?forc\w+|cracks? passwords?|hacks? into)\b",
    r"\bwithout (the |their |his |her |any )?(users?'?s?|owners?'?s?|people'?s?|employees?'?s?)? ?"
    r"(knowledge|consent|knowing|noticing)\b",
    r"窃取|盗取|盗号|偷取|键盘记录|钓鱼(网站|邮件|页面)|勒索|木马|僵尸网络|撞库|暴力破解|不知情|黑进|入侵|刷单|刷评|伪造"
    r"|破解[^\u3002\n]{0,12}(密码|账号|帐号|口令)",
    r"\bexfiltrat(e|es|ing)\b",
    r"\b(build|mak(e|es|ing)|building|construct|assemble)s?\s+(\w+\s+){0,2}?(?<!bath )"
    r"(bombs?|explosives|chemical weapons?|nerve agents?|methamphetamine)\b"
    r"(?!\s+(disposal|squad|shelter|detector|calorimeter))|\bbomb[- ]making\b",
    r"(制作|制造|自制|合成|组装)[^。\n]{0,6}(炸弹|炸药|爆炸物|毒品|冰毒|枪支|化学武器|生物武器)"
    r"|(炸弹|炸药|爆炸物|毒品|冰毒|枪支)的?(制作|制造|合成|配方)",
    r"\b(disabl(e|es|ing)|(turn|switch)(s|es|ing)? off|kill(s|ing)?|uninstall(s|ing)?)\s+(\w+\s+){0,2}"
    r"(anti-?virus|windows defender|edr)\b|\b(cover|hid)(s|e|es|ing)? (up )?(\w+ )?(tracks|traces)\b",
    r"(关闭|停用|禁用|卸载|杀掉|绕过)[^。\n]{0,6}(杀毒|杀软|防病毒|安全软件)|(清除|抹去|掩盖)[^。\n]{0,6}痕迹",
    rf"\b{_SPYING}\b[^.\n]{{0,80}}"
    r"\b(in secret(?=\s*([,.;]|and\b|$|\n))|secretly|covertly"
    r"|behind (their|his|her|the \w+'?s?) backs?)(?!\w)",
    rf"\b(secretly|covertly)\s+(\w+\s+)?{_SPYING}\b|\b(spy|spies|spying) on\b",
    r"(偷偷|暗中|秘密|悄悄)地?[^。\n]{0,20}"
    r"(转发|发送|发给|上传|抄送|记录|录音|录制|录屏|监控|监视|监听|收集|读取|拍摄|跟踪)",
    r"\b(generat|creat|writ|mak|post|publish|spread|produc|fabricat)(e|es|s|ing)?(\s+and\s+\w+)?\s+([\w-]+\s+)?"
    r"(fake|false|fabricated)\s+(news|reviews?|ratings|testimonials?)\b",
    r"(生成|制造|编造|散布|传播|发布|撰写)[^。\n]{0,4}(虚假|假)(新闻|消息|信息|评论|好评)",
)
_DEFENCE = re.compile(
    r"detect|prevent|protect|against|block|scan|analy|report|avoid|stop|warn|simulat|training|awareness"
    r"|filter|检测|防|识别|阻止|扫描|分析|培训|预警|举报|拦截",
    re.IGNORECASE,
)
_EVASION = _any(
    r"\b(bypass\w*|circumvent\w*|evad\w+|solv\w+)\b[^.\n]{0,30}\b(captchas?|paywalls?|log-?ins?|authentication"
    r"|security|rate limits?|detection|drm|licen[cs]e checks?|firewalls?)\b",
    r"(绕过|破解|规避)[^。\n]{0,12}(验证码|付费墙|登录|认证|鉴权|限制|限流|检测|防火墙|授权|安全)",
)
_PROMISES = _any(
    r"\bguarante\w+\b[^.\n]{0,20}\b(profits?|returns?|wins?|winning)\b",
    r"\b(predicts?|knows?|tells?)\b[^.\n]{0,40}\b(lottery|winning numbers)\b",
    r"\b(predict|forecast)s?\b[^.\n]{0,40}\b(stocks?|shares?|prices?|markets?|future)\b[^.\n]{0,30}"
    r"(\bcertainty\b|100 ?%|\bnever wrong\b|\bwithout (any )?(error|mistake)s?\b)",
    r"\b(know|tell|show|give|reveal)s?\b[^.\n]{0,20}\b(tomorrow|next (week|month|year))'?s\s+"
    r"(\w+ )?(stock|share|bitcoin|crypto) (prices?|quotes?)\b",
    r"\bperpetual[- ]motion (machine|engine|device|generator)|\bfaster than (the speed of )?light\b",
    r"\b(break|crack|defeat|decrypt)s?\b[^.\n]{0,30}\b(AES|RSA|encryption|encrypted|ciphers?)\b[^.\n]{0,40}"
    r"\b(without (the |a |any |its )?(key|password)|in (one|a|\d+|a few) (milli)?seconds?|instantly)\b",
    r"\b(can do|does|able to do|will do)\s+(absolutely |literally |simply )?(anything|everything)"
    r"(?=\s*([.,;!\n]|$|(that )?(you|one|anybody|a user|users|the user) (want|wish|need)))",
    r"\b100 ?% (accura\w+|correct|secure)\b|\breads? (people's |their )?minds?\b",
    r"保证(盈利|赚钱|收益|中奖)|稳赚|包赚|彩票(号码|中奖)|预测[^。\n]{0,8}(彩票|中奖)"
    r"|(百分之百|100 ?%)(准确|正确)"
    r"|预测[^。\n]{0,12}(股票|股价|涨跌|行情|未来)[^。\n]{0,8}(绝不|绝对|从不|永不|必定|百分之百|100 ?%)"
    r"|永动机|预知未来|读心术|长生不老|无所不能|全知全能|什么都(能|会|可以)(做|干|完成)?(?=[的\uff0c\u3002\uff01,.!\s]|$)",
)


@dataclass(frozen=True)
class Text:
    """A text, and where it stands."""

    text: str
    kind: SourceKind
    where: str


def hidden_in(text: str) -> list[str]:
    """Name the characters that people do not see and models read."""
    found = _HIDDEN.findall(_FLAG_EMOJI.sub("", text[:_LONGEST_READ]))
    return sorted({f"U+{ord(each):04X} {unicodedata.name(each, 'without a name')}" for each in found})


def described_dangers(described: Text) -> Iterator[Finding]:
    """Find what the text of a tool or server may not have in it; each stops."""
    plain = _seen(described.text)
    if hidden := hidden_in(described.text):
        yield _poisoned(described, "hidden_text", f"hides characters ({', '.join(hidden[:3])})", "")
    for rule, pattern, what in (
        ("orders_to_models", _ORDERS, "gives orders to the model that reads it"),
        ("theft", _THEFT, "asks for secrets to be read or sent away"),
    ):
        if match := pattern.search(plain):
            yield _poisoned(described, rule, what, match[0])


def wished_dangers(said: Text) -> Iterator[Finding]:
    """Find what no idea may ask for, or none can keep."""
    plain = _seen(said.text)
    if hidden := hidden_in(said.text):
        yield _wished(said, "hidden_text", f"The request hides characters: {', '.join(hidden[:3])}", "", 15)
    if match := _ORDERS.search(plain):
        text = "The request tries to give orders to whoever judges it; they were not followed"
        yield _wished(said, "orders_to_models", text, match[0], 20)
    theft = _THEFT.search(plain) or _not_watching(plain) or _not_defending(plain)
    if theft:
        text = "It asks for something harmful: to take what belongs to others, or to act behind their back"
        yield _wished(said, "harm", text, theft[0], 60, stop=True)
    if match := _EVASION.search(plain):
        text = "It gets around a protection, which is against terms of use and may be against the law"
        yield _wished(said, "evasion", text, match[0], 50)
    if match := _PROMISES.search(plain):
        yield _wished(said, "promise", "It promises what no tool can keep", match[0], 50)


def _seen(text: str) -> str:
    """Give a text as it is compared: without what hides words, and with wide letters made plain."""
    return unicodedata.normalize("NFKC", _HIDDEN.sub("", text[:_LONGEST_READ]))


def _not_defending(text: str) -> re.Match[str] | None:
    """Find harm that is wanted, and not what somebody wants to be protected from."""
    for match in _HARM.finditer(text):
        around = text[max(0, match.start() - 40) : match.start()] + text[match.end() : match.end() + 25]
        if not _DEFENCE.search(around):
            return match
    return None


def _not_watching(text: str) -> re.Match[str] | None:
    """Find theft that is wanted, and not what somebody looks out for; who says so says it before."""
    for match in _WISHED_THEFT.finditer(text):
        if not _WATCHING.search(text[max(0, match.start() - 100) : match.start()]):
            return match
    return None


def _poisoned(described: Text, rule: str, what: str, words: str) -> Finding:
    quoted = f": {short(words, 120)!r}" if words else ""
    return Finding(
        rule=rule,
        risk=f"{described.where[:1].upper()}{described.where[1:]} {what}",
        kind=described.kind,
        source=f"{described.where}{quoted} (rule {rule})",
        cost=60,
        advice=("Do not connect it to a model, and tell its author or the registry",),
        stop=True,
    )


def _wished(said: Text, rule: str, risk: str, words: str, cost: int, *, stop: bool = False) -> Finding:
    quoted = f"the words {short(words, 120)!r} " if words else ""
    advice = "Leave this part out" if rule in {"harm", "evasion", "promise"} else "Say plainly what is wanted"
    return Finding(
        rule=rule,
        risk=risk,
        kind=said.kind,
        source=f"{said.where}: {quoted}(rule {rule})",
        cost=cost,
        advice=(advice,),
        stop=stop,
    )
