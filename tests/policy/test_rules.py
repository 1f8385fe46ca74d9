"""Which tools a caller may call."""

from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest

from gateway.policy.rules import Patterns, Rules
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.policies import ToolRule

USER, GROUP, KEY = uuid4(), uuid4(), uuid4()


def caller(
    role: str = "developer", user: UUID = USER, key: UUID | None = None, group: UUID | None = None
) -> Principal:
    """Make a principal."""
    return Principal(
        user_id=user,
        username="somebody",
        permissions=frozenset(),
        credential=f"key:{key}" if key else "session:1",
        role=role,
        group_ids=frozenset({group} if group else ()),
    )


def rules(*given: Mapping[str, object]) -> Rules:
    """Make rules as a policy has them."""
    return Rules([ToolRule.model_validate(each) for each in given])


@pytest.mark.parametrize(
    ("pattern", "tool", "meant"),
    [
        ("read", "read", True),
        ("read", "reads", False),
        ("read_*", "read_file", True),
        ("read_*", "read_", True),
        ("*_file", "read_file", True),
        ("*_file", "read_files", False),
        ("a*c*e", "abcde", True),
        ("*", "anything", True),
        ("a.c", "abc", False),
        ("*.c", "a\nb.c", True),
        ("[ab]*", "a", False),
        ("ab*ba", "aba", False),
        ("a**b", "ab", True),
        ("*a*a*", "a", False),
        ("*ab*b", "ab", False),
        ("*" + "a*" * 40 + "b", "a" * 100_000, False),
        ("a*b*c", "axbxbxc", True),
    ],
)
def test_a_star_stands_for_anything_and_all_else_for_itself(pattern: str, tool: str, meant: bool) -> None:
    assert Patterns([pattern]).match(tool) is meant


def test_without_rules_for_the_caller_every_tool_may_be_called() -> None:
    assert rules({"roles": ["viewer"], "allow": []}).allow(caller(), "anything")


def test_a_rule_without_anybody_is_for_all() -> None:
    closed = rules({"deny": ["drop"]})
    for who in (caller(), caller("admin"), None):
        assert not closed.allow(who, "drop")
        assert closed.allow(who, "read")


def test_what_rules_allow_adds_up() -> None:
    both = rules({"allow": ["read"]}, {"roles": ["admin"], "allow": ["*"]})
    assert both.allow(caller(), "read")
    assert not both.allow(caller(), "write")
    assert both.allow(caller("admin"), "write")


def test_deny_wins_over_allow_in_whatever_order() -> None:
    one, other = {"allow": ["*"]}, {"roles": ["developer"], "deny": ["drop*"]}
    for order in (rules(one, other), rules(other, one)):
        assert not order.allow(caller(), "drop_table")
        assert order.allow(caller("admin"), "drop_table")


def test_an_empty_list_allows_nothing() -> None:
    assert not rules({"allow": []}).allow(caller(), "read")


@pytest.mark.parametrize(
    ("named", "meant", "other"),
    [
        ({"roles": ["viewer"]}, caller("viewer"), caller("developer")),
        ({"users": [str(USER)]}, caller(), caller(user=uuid4())),
        ({"keys": [str(KEY)]}, caller(key=KEY), caller(key=uuid4())),
        ({"groups": [str(GROUP)]}, caller(group=GROUP), caller(group=uuid4())),
        ({"anonymous": True}, None, caller()),
    ],
)
def test_a_rule_is_for_those_that_it_names(
    named: dict[str, object], meant: Principal | None, other: Principal | None
) -> None:
    one = rules({**named, "deny": ["drop"]})
    assert not one.allow(meant, "drop")
    assert one.allow(other, "drop")
    assert "anonymous" in named or one.allow(None, "drop")
