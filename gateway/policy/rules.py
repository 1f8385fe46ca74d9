"""Rules about tools, made ready: which of them this caller may call."""

from collections.abc import Iterable, Sequence
from typing import Final

from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.policies import ToolRule

_ANY: Final = "*"


class Patterns:
    """Names of tools, and patterns with `*`."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = list(patterns)
        self._names = frozenset(each for each in patterns if _ANY not in each)
        self._wild = [each.split(_ANY) for each in patterns if _ANY in each]

    def match(self, tool: str) -> bool:
        """Tell whether any of them is this tool's."""
        return tool in self._names or any(_matches(literals, tool) for literals in self._wild)


def _matches(literals: list[str], tool: str) -> bool:
    """Tell whether these follow each other in a name, the first at its beginning and the last at its end.

    Taking the first place of each is enough; no regular expression, which would try all the others, too.
    """
    first, *middle, last = literals
    place, end = len(first), len(tool) - len(last)
    if place > end or not tool.startswith(first) or not tool.endswith(last):
        return False
    for literal in middle:
        found = tool.find(literal, place, end)
        if found < 0:
            return False
        place = found + len(literal)
    return True


class _Rule:
    def __init__(self, rule: ToolRule) -> None:
        self.allow = None if rule.allow is None else Patterns(rule.allow)
        self.deny = Patterns(rule.deny)
        self._all = not (rule.roles or rule.users or rule.groups or rule.keys or rule.anonymous)
        self._anonymous = rule.anonymous
        self._roles = frozenset(rule.roles)
        self._users = frozenset(rule.users)
        self._groups = frozenset(rule.groups)
        self._credentials = frozenset(f"key:{key}" for key in rule.keys)

    def concerns(self, caller: Principal | None) -> bool:
        """Tell whether the rule is for this caller."""
        if self._all:
            return True
        if caller is None:
            return self._anonymous
        return (
            caller.role in self._roles
            or caller.user_id in self._users
            or caller.credential in self._credentials
            or not self._groups.isdisjoint(caller.group_ids)
        )


class Rules:
    """The rules of one MCP.

    A tool that any rule for the caller denies may not be called. Where rules for the caller allow tools,
    no others may be called; without such a rule, all.
    """

    def __init__(self, rules: Sequence[ToolRule]) -> None:
        self._rules = [_Rule(rule) for rule in rules]

    def allow(self, caller: Principal | None, tool: str) -> bool:
        """Tell whether the caller may call the tool."""
        bounded = allowed = False
        for rule in self._rules:
            if not rule.concerns(caller):
                continue
            if rule.deny.match(tool):
                return False
            if rule.allow is not None:
                bounded = True
                allowed = allowed or rule.allow.match(tool)
        return allowed or not bounded
