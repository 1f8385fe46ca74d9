"""Files of other programs: taken in, and given out again."""

import json
import re
from typing import Any
from uuid import uuid4

import pytest

from tests.access.people import new_key, with_key
from tests.platform import Caller, RunningPlatform
from tests.secrets.people import trusted

IMPORT = "/api/v1/mcps/import"


def fresh(name: str) -> str:
    """Give a name that no other test uses."""
    return f"{name}-{uuid4().hex[:8]}"


async def imported(caller: Caller, file: dict[str, Any]) -> dict[str, Any]:
    """Import a file, and give the report."""
    answer = await caller.post(IMPORT, json=file)
    assert answer.status_code == 200, answer.text
    report: dict[str, Any] = answer.json()
    return report


async def config_of(caller: Caller, mcp_id: str) -> dict[str, Any]:
    """Read an MCP's configuration."""
    config: dict[str, Any] = (await caller.get(f"/api/v1/mcps/{mcp_id}")).json()["config"]
    return config


async def test_each_entry_of_a_file_becomes_an_mcp(platform: RunningPlatform) -> None:
    member = await platform.member()
    local, far = fresh("File System"), fresh("far")
    report = await imported(
        member,
        {
            "mcpServers": {
                local: {"command": "npx", "args": ["-y", "server-filesystem", "/data"], "disabled": False},
                far: {"type": "http", "url": "https://far.example/mcp", "headers": {"X-Team": "ours"}},
            },
            "somebody's own setting": True,
        },
    )
    assert report["skipped"] == []
    first, second = report["created"]
    assert (first["name"], first["slug"]) == (local, local.lower().replace(" ", "-"))
    assert await config_of(member, first["id"]) == {
        "servers": [
            {
                "name": local,
                "command": "npx",
                "args": ["-y", "server-filesystem", "/data"],
                "disabled": False,
            }
        ]
    }
    assert (await config_of(member, second["id"]))["servers"][0]["headers"] == {"X-Team": "ours"}
    details = (await member.get(f"/api/v1/mcps/{second['id']}")).json()
    assert (details["name"], details["version"], details["status"]) == (far, "1.0.0", "draft")


async def test_an_entry_that_cannot_be_taken_is_left_out_with_the_reason(platform: RunningPlatform) -> None:
    member = await platform.member()
    good, taken = fresh("good"), fresh("taken")
    await member.register_mcp({}, slug=taken)
    report = await imported(
        member,
        {
            "mcpServers": {
                taken: {"command": "c"},
                good: {"command": "c"},
                "group": {"command": "c"},
                "时间": {"command": "c"},
                "nothing": {"disabled": True},
                "both": {"command": "c", "url": "http://localhost"},
                "odd": {"command": ["c"]},
            }
        },
    )
    assert [each["name"] for each in report["created"]] == [good]
    reasons = {each["name"]: each["reason"] for each in report["skipped"]}
    assert "exists already" in reasons[taken]
    assert "reserved" in reasons["group"]
    assert "letters or digits" in reasons["时间"]
    assert "exactly one of url, command and image" in reasons["nothing"]
    assert "exactly one of url, command and image" in reasons["both"]
    assert "valid string" in reasons["odd"]


async def test_credentials_in_plain_become_secrets_of_the_importers(platform: RunningPlatform) -> None:
    member = await platform.member()
    name, token = fresh("git"), f"GIT_TOKEN_{uuid4().hex[:8].upper()}"
    entry = {
        "command": "c",
        "env": {token: "ghp_plain", "LEVEL": "debug", "API_KEY": "${KEPT}", "EMPTY_KEY": ""},
    }
    far = fresh("far")
    report = await imported(
        member,
        {"mcpServers": {name: entry, far: {"url": "http://a.b", "headers": {"Authorization": "Bearer x"}}}},
    )
    header_secret = f"{far}_AUTHORIZATION".upper().replace("-", "_")
    assert [each["secrets"] for each in report["created"]] == [[token], [header_secret]]
    assert [each["unknown"] for each in report["created"]] == [["KEPT"], []]
    (server,) = (await config_of(member, report["created"][0]["id"]))["servers"]
    assert server["env"] == {
        token: f"${{{token}}}",
        "LEVEL": "debug",
        "API_KEY": "${KEPT}",
        "EMPTY_KEY": "",
    }
    (remote,) = (await config_of(member, report["created"][1]["id"]))["servers"]
    assert remote["headers"] == {"Authorization": f"${{{header_secret}}}"}
    assert (await member.get(f"/api/v1/secrets/{token}")).status_code == 200
    assert "ghp_plain" not in json.dumps(report)


async def test_no_secret_is_overwritten_or_hidden_by_an_import(platform: RunningPlatform) -> None:
    member, admin = (await trusted(platform)).caller, await platform.admin()
    name, one, other = f"KEY_{uuid4().hex[:8].upper()}", fresh("one"), fresh("other")
    await admin.put(f"/api/v1/secrets/{name}", json={"value": "shared value", "shared": True})
    try:
        report = await imported(
            member,
            {
                "mcpServers": {
                    one: {"command": "c", "env": {name: "shared value"}},
                    other: {"command": "c", "env": {name: "another value"}},
                }
            },
        )
        # The shared value and a wrong guess at it are answered alike.
        own = [f"{slug}_{name}".upper().replace("-", "_") for slug in (one, other)]
        assert [each["secrets"] for each in report["created"]] == [[name] for name in own]
        listed = (await member.get("/api/v1/secrets")).json()["secrets"]
        assert sorted(each["name"] for each in listed if not each["shared"]) == sorted(own)

        third = slug_with_taken_names = fresh("third")
        for taken in (name, f"{slug_with_taken_names}_{name}".upper().replace("-", "_")):
            await member.put(f"/api/v1/secrets/{taken}", json={"value": "something else"})
        refused = await imported(member, {"mcpServers": {third: {"command": "c", "env": {name: "mine"}}}})
        assert refused["created"] == []
        assert "other values already" in refused["skipped"][0]["reason"]
        assert (await member.get("/api/v1/mcps", params={"search": third})).json()["total"] == 0
    finally:
        await admin.delete(f"/api/v1/secrets/{name}", params={"shared": True, "force": True})


async def test_an_import_tells_nothing_of_shared_secrets_to_who_may_not_use_them(
    platform: RunningPlatform,
) -> None:
    member, admin = await platform.member(), await platform.admin()
    name, entry = f"KEY_{uuid4().hex[:8].upper()}", fresh("entry")
    await admin.put(f"/api/v1/secrets/{name}", json={"value": "shared value", "shared": True})
    try:
        file = {"mcpServers": {entry: {"command": "${" + name + "}", "env": {"LEVEL": "debug"}}}}
        assert (await imported(member, file))["created"][0]["unknown"] == [name]
        file = {"mcpServers": {fresh("more"): {"command": "c", "env": {name: "shared value"}}}}
        assert (await imported(member, file))["created"][0]["secrets"] == [name]
        assert (await member.get(f"/api/v1/secrets/{name}")).json()["shared"] is False
    finally:
        await admin.delete(f"/api/v1/secrets/{name}", params={"shared": True, "force": True})


async def test_an_import_by_a_narrow_key_hides_no_shared_secret_of_its_owners(
    platform: RunningPlatform,
) -> None:
    admin = await platform.admin()
    name, entry = f"KEY_{uuid4().hex[:8].upper()}", fresh("entry")
    await admin.put(f"/api/v1/secrets/{name}", json={"value": "shared value", "shared": True})
    key = await new_key(admin, scopes=["WRITE"])
    try:
        file = {"mcpServers": {entry: {"command": "c", "env": {name: "shared value"}}}}
        report = await imported(with_key(platform, key["key"]), file)
        assert report["created"][0]["secrets"] == [f"{entry}_{name}".upper().replace("-", "_")]
    finally:
        await admin.delete(f"/api/v1/secrets/{name}", params={"shared": True, "force": True})


async def test_an_entry_that_is_left_out_leaves_no_secret_behind(platform: RunningPlatform) -> None:
    member = await platform.member()
    taken = fresh("taken")
    await member.register_mcp({}, slug=taken)
    name = f"KEY_{uuid4().hex[:8].upper()}"
    report = await imported(member, {"mcpServers": {taken: {"command": "c", "env": {name: "v"}}}})
    assert report["created"] == []
    assert (await member.get(f"/api/v1/secrets/{name}")).status_code == 404


async def test_references_of_other_programs_become_ours(platform: RunningPlatform) -> None:
    member = await platform.member()
    name = fresh("code")
    file = {
        "inputs": [{"id": "api-key", "type": "promptString"}],
        "servers": {
            name: {
                "command": "c",
                "args": ["--root", "${env:ROOT}", "${workspaceFolder}"],
                "env": {"API_KEY": "${input:api-key}", "PLACE": "${PLACE:-here}"},
            }
        },
    }
    report = await imported(member, file)
    (server,) = (await config_of(member, report["created"][0]["id"]))["servers"]
    assert server["args"] == ["--root", "${ROOT}", "${workspaceFolder}"]
    assert server["env"] == {"API_KEY": "${API_KEY}", "PLACE": "${PLACE}"}
    assert report["created"][0]["unknown"] == ["API_KEY", "PLACE", "ROOT", "workspaceFolder"]


SERVERS: dict[str, dict[str, Any]] = {
    "npx": {"command": "npx", "args": ["-y", "@scope/server@1.2.3", "--root", "/data"]},
    "npx-latest": {"command": "npx", "args": ["server@latest"], "env": {"LEVEL": "debug"}},
    "uvx": {"command": "uvx", "args": ["mcp-server-time@1.0.0"], "env": {"TOKEN": "${TOKEN}"}},
    "image": {"image": "images.example/org/box:1.0", "args": ["serve"], "env": {"A_KEY": "x-${OTHER}"}},
    "command": {"command": "/opt/tool", "args": ["-c", "{curly} ${NAME}"], "cwd": "/tmp"},
    "remote": {"url": "https://${HOST}/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
    "sse": {"url": "https://a.example/sse", "type": "sse"},
    "vendor": {"command": "c", "x-vendor": {"deep": [1, None, {"a": "b"}]}},
}


@pytest.mark.parametrize("form", ["mcpServers", "server.json"])
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
async def test_what_was_exported_is_the_same_configuration_when_it_is_imported(
    platform: RunningPlatform, form: str, server: dict[str, Any]
) -> None:
    member, other = await platform.member(), await platform.member()
    config = {"servers": [{"name": "main", **server}]}
    mcp = await member.register_mcp(config, name="Round", description="Goes round")
    exported = await member.get(f"/api/v1/mcps/{mcp['id']}/export", params={"format": form})
    assert exported.status_code == 200, exported.text
    await member.delete(f"/api/v1/mcps/{mcp['id']}")
    report = await imported(other, exported.json())
    assert report["skipped"] == []
    assert report["created"][0]["slug"] == mcp["slug"]
    assert await config_of(other, report["created"][0]["id"]) == config


async def test_a_server_json_keeps_several_servers_and_the_tools(platform: RunningPlatform) -> None:
    member = await platform.member()
    config = {
        "servers": [{"name": "a", "command": "npx", "args": ["-y", "p"]}, {"name": "b", "url": "http://b.b"}],
        "tools": [{"name": "t", "description": "d", "parameters": {}}],
    }
    mcp = await member.register_mcp(config, name="N" * 200, description="d" * 300, version="3.2.1")
    file = (await member.get(f"/api/v1/mcps/{mcp['id']}/export", params={"format": "server.json"})).json()
    check_server_json(file)
    await member.delete(f"/api/v1/mcps/{mcp['id']}")
    report = await imported(member, file)
    assert await config_of(member, report["created"][0]["id"]) == config
    details = (await member.get(f"/api/v1/mcps/{report['created'][0]['id']}")).json()
    assert details["version"] == "3.2.1"


async def test_a_file_of_no_known_kind_is_refused(platform: RunningPlatform) -> None:
    member = await platform.member()
    assert (await member.post(IMPORT, json={})).status_code == 422
    assert (await member.post(IMPORT, json={"something": "else"})).status_code == 422
    assert (await member.post(IMPORT, json={"mcpServers": []})).status_code == 422
    deep = '{"mcpServers": {"a": {"command": "c", "x": ' + "[" * 300 + "]" * 300 + "}}}"
    half = '{"mcpServers": {"\\ud800": {"command": "c"}}}'
    for text in (deep, half):
        answer = await member.post(IMPORT, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
    assert (await imported(member, {"mcpServers": {}})) == {"created": [], "skipped": []}


async def test_an_export_for_the_gateway_leads_there(platform: RunningPlatform) -> None:
    member = await platform.member()
    mcp = await member.register_mcp({"servers": [{"name": "s", "command": "secretive"}]})
    path = f"/api/v1/mcps/{mcp['id']}/export"
    address = f"{platform.url}/mcp/{mcp['slug']}/v1"
    file = (await member.get(path, params={"target": "gateway"})).json()
    assert file == {
        "mcpServers": {
            mcp["slug"]: {
                "type": "http",
                "url": address,
                "headers": {"Authorization": "Bearer YOUR_API_KEY"},
            }
        }
    }
    described = await member.get(path, params={"target": "gateway", "format": "server.json"})
    check_server_json(described.json())
    assert [remote["url"] for remote in described.json()["remotes"]] == [address]
    assert "secretive" not in described.text


async def test_several_mcps_are_exported_into_one_file(platform: RunningPlatform) -> None:
    member = await platform.member()
    one = await member.register_mcp({"servers": [{"name": "s", "command": "c"}]}, tags=["chosen"])
    two = await member.register_mcp(
        {"servers": [{"name": "a", "command": "c"}, {"name": "b", "url": "http://b.b"}]}
    )
    file = (await member.get("/api/v1/mcps/export", params={"mine": True})).json()["mcpServers"]
    assert set(file) == {one["slug"], f"{two['slug']}-a", f"{two['slug']}-b"}
    params: dict[str, str | bool] = {"mine": True, "tag": "chosen", "format": "server.json"}
    (entry,) = (await member.get("/api/v1/mcps/export", params=params)).json()["servers"]
    assert entry["server"]["name"] == f"local.mcp-platform/{one['slug']}"


def check_server_json(file: dict[str, Any]) -> None:
    """Hold a file against what the registry's schema of 2025-12-11 demands."""
    assert file["$schema"].endswith("/2025-12-11/server.schema.json")
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", file["name"])
    assert 3 <= len(file["name"]) <= 200
    assert 1 <= len(file["description"]) <= 100
    assert 1 <= len(file["title"]) <= 100
    assert re.fullmatch(r"\d+\.\d+\.\d+", file["version"])
    for package in file.get("packages", []):
        assert package["registryType"] in {"npm", "pypi", "oci"}
        assert package["identifier"]
        assert package["transport"] == {"type": "stdio"}
        assert package.get("version") != "latest"
        for argument in [*package.get("runtimeArguments", []), *package.get("packageArguments", [])]:
            assert argument["type"] == "positional"
            assert isinstance(argument["value"], str)
        assert all(variable["name"] for variable in package.get("environmentVariables", []))
    for remote in file.get("remotes", []):
        assert remote["type"] in {"streamable-http", "sse"}
        assert re.fullmatch(r"https?://[^\s]+", remote["url"])
        assert all(header["name"] for header in remote.get("headers", []))
