"""Arguments are held against the tool's schema before its server sees them."""

from typing import Any

import pytest

from gateway.policy.arguments import ArgumentChecks
from gateway.tools import ToolList
from mcp_platform.contracts.deployments import Driver
from tests.gateway.conftest import Platform
from tests.policy.desk import called, desk, govern, post, tool

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}


def doubling(reference: str, named: str) -> dict[str, Any]:
    """Give a small schema that stands for 2 ** 30 others, which want a `y` that is null."""
    last = {"properties": {"y": {"type": "null"}}}
    defs: dict[str, Any] = {"a30": {named: "a30", **last}}
    for number in range(30):
        twice = [{"$ref": reference.format(f"a{number + 1}")}] * 2
        defs[f"a{number}"] = {named: f"a{number}", "allOf": twice}
    return {"$id": "http://x/d", "$defs": defs, "$ref": reference.format("a0")}


def problems(schema: Any, arguments: dict[str, Any]) -> list[str]:
    """Check arguments against a schema."""
    tools = ToolList("s", {"t": {"name": "t", "inputSchema": schema}}, "d", 0.0)
    return ArgumentChecks().problems(tools, "t", arguments)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (CITY, {"city": "Rome", "days": 3}, {"days": 3}),
        (CITY, {"city": "Rome"}, {"city": "Rome", "moon": 1}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"required": ["x"]}}}, {"x": 1}, {}),
        (
            {"properties": {"x": {"prefixItems": [{"type": "string"}]}}},
            {"x": ["a"]},
            {"x": [1]},
        ),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"unevaluatedProperties": False, "allOf": [{"properties": {"a": {}}}]}, {"a": 1}, {"b": 1}),
        (
            {
                "properties": {"x": {"$dynamicRef": "#n"}},
                "$defs": {"n": {"$dynamicAnchor": "n", "type": "null"}},
            },
            {"x": None},
            {"x": 1},
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "properties": {"x": {"items": [{"type": "null"}]}},
            },
            {"x": [None]},
            {"x": [1]},
        ),
    ],
)
def test_schemas_mean_what_their_dialect_says(
    schema: dict[str, Any], good: dict[str, Any], bad: dict[str, Any]
) -> None:
    assert problems(schema, good) == []
    assert problems(schema, bad)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/hostname"},
        {"$ref": "#/$defs/missing"},
        {"$schema": "urn:unknown"},
        {"properties": {"x": {"pattern": "("}}},
        {"description": "x" * 300_000, "required": ["y"]},
        {"properties": {"x": {"format": "email"}, "y": {"format": "made-up"}}},
        doubling("#/$defs/{}", "$comment"),
        doubling("#{}", "$anchor"),
        doubling("d#{}", "$anchor"),
        None,
        True,
    ],
)
def test_a_schema_that_cannot_be_used_leaves_its_tool_unchecked(schema: Any) -> None:
    assert problems(schema, {"x": "no mail", "y": "?"}) == []


def test_schemas_may_lead_back_to_themselves_and_be_used_often() -> None:
    tree = {"type": "object", "properties": {"x": {"$ref": "#"}, "y": {"$ref": "#/$defs/n"}}}
    schema = {**tree, "$defs": {"n": {"type": "null"}}, "additionalProperties": {"$ref": "#/$defs/n"}}
    assert problems(schema, {"x": {"x": {"y": None}}, "z": None}) == []
    assert problems(schema, {"x": {"x": {"y": 1}}})


def test_what_is_said_of_arguments_names_places_and_no_values() -> None:
    said = problems(CITY, {"city": "\N{LATIN SMALL LETTER E WITH ACUTE}", "days": "hunter2"})
    assert said == [
        "/city: the value is shorter than 2 characters",
        '/days: the value is not of type "integer"',
    ]


def test_of_many_problems_some_are_named() -> None:
    schema = {"additionalProperties": {"type": "string"}}
    said = problems(schema, {f"n{number}": number for number in range(100)})
    assert len(said) == 6
    assert said[-1] == "and more"


@pytest.mark.parametrize("old", [True, False])
async def test_a_wrong_call_is_answered_for_the_model_and_never_reaches_the_server(
    gateway: Platform, old: bool
) -> None:
    async with desk(legacy=old) as server:
        server.tools = [tool("weather", schema=CITY)]
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        result = (await called(gateway, "desk", "weather", {"days": 1}))["result"]
        assert result["isError"]
        assert result["resultType"] == "complete"
        assert result["content"] == [
            {
                "type": "text",
                "text": "Invalid arguments for the tool 'weather':\n"
                '- the arguments: "city" is a required property',
            }
        ]
        status, body, _ = await gateway.rest("desk", "weather", {"city": 1})
        assert (status, body["error_code"]) == (422, "TOOL_ERROR")
        assert "/city" in body["detail"]
        assert server.calls == 0
        assert "isError" not in (await called(gateway, "desk", "weather", {"city": "Rome"}))["result"]
        assert server.calls == 1
        await gateway.place(deployment)


async def test_arguments_that_are_no_object_are_a_malformed_request(gateway: Platform) -> None:
    async with desk() as server:
        await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        answer = await called(gateway, "desk", "read", ["a"])
        assert answer["error"]["code"] == -32602
        assert server.calls == 0


async def test_a_schema_that_changed_unannounced_refuses_nobody(gateway: Platform) -> None:
    async with desk() as server:
        server.tools = [tool("weather", schema=CITY)]
        await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        assert (await called(gateway, "desk", "weather", {}))["result"]["isError"]
        server.tools = [tool("weather")]
        known = gateway.gateway.tool_lists.known("desk")
        assert known is not None
        object.__setattr__(known, "read_at", known.read_at - 5)
        assert "isError" not in (await called(gateway, "desk", "weather", {}))["result"]


async def test_a_server_that_lists_no_tools_is_called_all_the_same(gateway: Platform) -> None:
    async with desk() as server:
        server.lists = False
        await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        assert "result" in await called(gateway, "desk", "read", {"any": "thing"})


async def test_the_check_can_be_switched_off(gateway: Platform) -> None:
    async with desk() as server:
        server.tools = [tool("weather", schema=CITY)]
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, check_arguments=False)
        assert "isError" not in (await called(gateway, "desk", "weather", {}))["result"]


async def test_an_answer_to_a_servers_question_needs_no_arguments(gateway: Platform) -> None:
    from_before = {"inputResponses": {"q": {"action": "accept"}}, "requestState": "s"}
    async with desk() as server:
        server.tools = [tool("weather", schema=CITY)]
        await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        _, answer = await post(
            gateway.address("desk"),
            "tools/call",
            {"name": "weather", **from_before},
            {"X-API-Key": gateway.key},
        )
        assert "isError" not in answer["result"]
        fresh: dict[str, Any] = {"name": "weather", "arguments": None, "inputResponses": {}}
        _, checked = await post(gateway.address("desk"), "tools/call", fresh, {"X-API-Key": gateway.key})
        assert checked["result"]["isError"]
        sent = [message for method, message, _ in server.requests if method == "tools/call"][-1]
        assert sent["params"]["requestState"] == "s"
