"""What an MCP's rules name must be there, and a rule must do something."""

from collections.abc import Sequence
from typing import Any

from mcp_platform.contracts.access import Role
from mcp_platform.contracts.policies import ToolRule
from mcp_platform.errors import ValidationFailed
from storage.sql.engine import SessionT
from storage.stores import Rows


async def check_rules(rows: Rows[SessionT], rules: Sequence[ToolRule]) -> None:
    """Refuse rules that allow and deny nothing, or are for what there is not.

    Raises:
        ValidationFailed: There are such rules.
    """
    roles = {role for rule in rules for role in rule.roles}
    if roles:
        roles -= {*Role, *(role.name for role in await rows.roles.list())}
    policies = rows.policies
    unknown: dict[str, set[Any]] = {
        "roles": roles,
        "users": await policies.unknown_users({user for rule in rules for user in rule.users}),
        "groups": await policies.unknown_groups({group for rule in rules for group in rule.groups}),
        "keys": await policies.unknown_keys({key for rule in rules for key in rule.keys}),
    }
    problems = []
    for number, rule in enumerate(rules):
        if rule.allow is None and not rule.deny:
            problems.append(_problem(number, None, "A rule needs allow, deny or both"))
        for field, missing in unknown.items():
            absent = [str(each) for each in getattr(rule, field) if each in missing]
            if absent:
                problems.append(_problem(number, field, f"There are no such {field}: {', '.join(absent)}"))
    if problems:
        raise ValidationFailed(problems)


def _problem(number: int, field: str | None, text: str) -> dict[str, Any]:
    place = ["body", "rules", number, *([field] if field else [])]
    return {"loc": place, "msg": text, "type": "value_error"}
