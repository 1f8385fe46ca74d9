"""A registry's `server.json`, taken in as something that can be started or reached."""

from typing import Any

import pytest

from tests.mcps.test_exchange import fresh, imported
from tests.platform import RunningPlatform

REGISTERED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "packages": [
                {
                    "registryType": "npm",
                    "identifier": "@modelcontextprotocol/server-brave-search",
                    "version": "1.0.2",
                    "transport": {"type": "stdio"},
                    "environmentVariables": [
                        {"name": "BRAVE_API_KEY", "isRequired": True, "isSecret": True},
                        {"name": "REGION", "default": "eu"},
                        {"name": "VERBOSE", "description": "optional"},
                    ],
                }
            ]
        },
        {
            "command": "npx",
            "args": ["-y", "@modelcontextprotocol/server-brave-search@1.0.2"],
            "env": {"BRAVE_API_KEY": "${BRAVE_API_KEY}", "REGION": "eu"},
        },
    ),
    (
        {
            "packages": [
                {
                    "registryType": "pypi",
                    "identifier": "weather-mcp",
                    "version": "0.5.0",
                    "runtimeHint": "uvx",
                    "transport": {"type": "stdio"},
                    "runtimeArguments": [{"type": "named", "name": "--python", "value": "3.12"}],
                    "packageArguments": [
                        {"type": "positional", "value": "serve"},
                        {"type": "named", "name": "--read-only"},
                        {"type": "named", "name": "--root", "valueHint": "root", "isRequired": True},
                        {"type": "named", "name": "--optional", "isRequired": False},
                        {"type": "named", "name": "-p", "default": "80"},
                        {"type": "positional", "valueHint": "target_dir", "isRequired": True},
                    ],
                }
            ]
        },
        {
            "command": "uvx",
            "args": [
                *("--python=3.12", "weather-mcp@0.5.0", "serve", "--read-only", "--root=${root}"),
                *("-p", "80", "${target_dir}"),
            ],
        },
    ),
    (
        {
            "packages": [
                {
                    "registryType": "oci",
                    "identifier": "docker.io/org/box",
                    "version": "2.0.0",
                    "transport": {"type": "stdio"},
                    "runtimeArguments": [
                        {
                            "type": "named",
                            "name": "--mount",
                            "value": "type=bind,src={source}",
                            "variables": {"source": {"isRequired": True}},
                        }
                    ],
                }
            ]
        },
        {"image": "docker.io/org/box:2.0.0", "runtimeArguments": ["--mount=type=bind,src=${source}"]},
    ),
    (
        {
            "remotes": [
                {
                    "type": "streamable-http",
                    "url": "https://{tenant}.example.com/{region}/mcp",
                    "variables": {"tenant": {"isRequired": True}, "region": {"default": "eu"}},
                    "headers": [
                        {
                            "name": "Authorization",
                            "value": "Bearer {api_key}",
                            "variables": {"api_key": {"isSecret": True}},
                        }
                    ],
                }
            ]
        },
        {
            "url": "https://${tenant}.example.com/eu/mcp",
            "headers": {"Authorization": "Bearer ${api_key}"},
        },
    ),
]


@pytest.mark.parametrize(("body", "server"), REGISTERED, ids=["npm", "pypi", "oci", "remote"])
async def test_a_server_json_of_the_registry_becomes_a_server_that_can_be_started(
    platform: RunningPlatform, body: dict[str, Any], server: dict[str, Any]
) -> None:
    member = await platform.member()
    slug = fresh("weather")
    head = {"name": f"io.github.user/{slug}", "title": "Weather", "description": "D", "version": "1.0.2"}
    report = await imported(member, {"$schema": "https://example.com/schema.json", **head, **body})
    assert report["skipped"] == []
    made = (await member.get(f"/api/v1/mcps/{report['created'][0]['id']}")).json()
    assert made["config"] == {"servers": [{"name": slug, **server}]}
    assert (made["slug"], made["name"], made["description"], made["version"]) == (
        slug,
        "Weather",
        "D",
        "1.0.2",
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "no packages and no remotes"),
        ({"packages": [{"registryType": "mcpb", "identifier": "http://x"}]}, "mcpb cannot be run"),
        (
            {"packages": [{"registryType": "npm", "identifier": "p", "transport": {"type": "sse"}}]},
            "does not speak over standard input",
        ),
        ({"remotes": [{"type": "sse", "url": "nowhere"}]}, "absolute http"),
        ({"packages": [{"registryType": "npm", "transport": 7}]}, "no server.json"),
    ],
    ids=["empty", "kind", "transport", "url", "broken"],
)
async def test_a_server_json_that_cannot_be_run_is_left_out(
    platform: RunningPlatform, body: dict[str, Any], says: str
) -> None:
    member = await platform.member()
    name = f"io.github.user/{fresh('x')}"
    report = await imported(member, {"name": name, "description": "d", "version": "1.0.0", **body})
    assert report["created"] == []
    assert [each["name"] for each in report["skipped"]] == [name]
    assert says in report["skipped"][0]["reason"]
