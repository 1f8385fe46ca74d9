"""Secrets: they go in, reach the server that refers to them, and are seen nowhere else."""

import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from mcp_platform.names import deployment_workflow_id
from tests.access.people import appoint, new_key, person, with_key
from tests.deployments.servers import TIME
from tests.platform import Caller, RunningPlatform
from tests.secrets.people import forms, trusted
from tests.waiting import eventually

SECRETS = "/api/v1/secrets"
PASSED_ON = {"Accept", "Content-Type", "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Protocol-Version"}


@pytest.fixture
async def admin(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give the administrator, whose deployments are stopped after the test."""
    caller = await platform.admin()
    yield caller
    for deployment in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        if deployment["status"] != "stopped":
            await caller.delete(f"/api/v1/deployments/{deployment['deployment_id']}")


def new_name() -> str:
    """Give a name that no other test uses."""
    return f"SECRET_{uuid4().hex[:12].upper()}"


async def put(caller: Caller, name: str, value: str, **more: Any) -> int:
    """Store a secret, and give the status."""
    answer = await caller.put(f"{SECRETS}/{name}", json={"value": value, **more})
    assert answer.status_code in {200, 201}, answer.text
    return answer.status_code


def needing(name: str, seen: Path, command: str = "mcp-server-time") -> dict[str, Any]:
    """Give a server that writes down what it got by the variable `KEY`."""
    code = (
        "import os, subprocess, sys\n"
        f"open({str(seen)!r}, 'w').write(os.environ['KEY'])\n"
        "print('my key is ' + os.environ['KEY'], file=sys.stderr)\n"
        f"sys.exit(subprocess.call([{command!r}]))"
    )
    return {"name": "s", "command": sys.executable, "args": ["-c", code], "env": {"KEY": f"${{{name}}}"}}


async def test_a_secret_is_stored_replaced_listed_and_deleted_without_ever_being_shown(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    name = new_name()
    assert await put(member, name, "first value") == 201
    first = (await member.get(f"{SECRETS}/{name}")).json()
    assert set(first) == {"name", "shared", "created_at", "updated_at"}
    assert (first["name"], first["shared"]) == (name, False)
    assert await put(member, name, "second value") == 200
    listed = await member.get(SECRETS)
    (mine,) = [secret for secret in listed.json()["secrets"] if secret["name"] == name]
    assert mine["created_at"] == first["created_at"]
    assert mine["updated_at"] > first["updated_at"]
    assert "value" not in listed.text
    gone = await member.delete(f"{SECRETS}/{name}")
    assert gone.json() == {"message": "Secret deleted successfully", "name": name}
    missing = await member.get(f"{SECRETS}/{name}")
    assert (missing.status_code, missing.json()["resource_type"]) == (404, "secret")
    assert (await member.delete(f"{SECRETS}/{name}")).status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("1ST", "v", "not beginning with a digit"),
        ("WITH-DASH", "v", "letters, digits and underscores"),
        ("A" * 129, "v", "128"),
        ("MCP_PLATFORM_X", "v", "belong to the platform"),
        ("FINE", "", "is empty"),
        ("FINE", "a\0b", "NUL"),
        ("FINE", "ä" * 32_769, "65536 bytes"),
    ],
    ids=["digit", "dash", "long", "reserved", "empty", "nul", "large"],
)
async def test_a_name_or_value_that_cannot_be_is_refused_and_the_value_not_repeated(
    platform: RunningPlatform, name: str, value: str, says: str
) -> None:
    member = await platform.member()
    answer = await member.put(f"{SECRETS}/{name}", json={"value": value})
    assert answer.status_code == 422
    assert says in answer.text
    assert len(answer.text) < 1000


async def test_the_largest_value_is_taken(platform: RunningPlatform) -> None:
    member = await platform.member()
    assert await put(member, new_name(), "x" * 65_536) == 201


async def test_nobody_sees_or_deletes_the_secrets_of_another(platform: RunningPlatform) -> None:
    owner, stranger, admin = await platform.member(), await platform.member(), await platform.admin()
    name = new_name()
    await put(owner, name, "mine")
    for other in (stranger, admin):
        assert (await other.get(f"{SECRETS}/{name}")).status_code == 404
        assert (await other.delete(f"{SECRETS}/{name}")).status_code == 404
        assert name not in (await other.get(SECRETS)).text
        assert await put(other, name, "theirs") == 201
    assert (await owner.get(f"{SECRETS}/{name}")).status_code == 200


async def test_only_who_may_share_makes_and_deletes_shared_secrets(platform: RunningPlatform) -> None:
    member, admin = (await trusted(platform)).caller, await platform.admin()
    name = new_name()
    refused = await member.put(f"{SECRETS}/{name}", json={"value": "v", "shared": True})
    assert (refused.status_code, refused.json()["required_permission"]) == (403, "secrets:share")
    assert await put(admin, name, "everybody's", shared=True) == 201
    seen = (await member.get(f"{SECRETS}/{name}")).json()
    assert seen["shared"] is True
    assert (await member.delete(f"{SECRETS}/{name}", params={"shared": True})).status_code == 403
    assert await put(member, name, "mine") == 201
    assert (await member.get(f"{SECRETS}/{name}")).json()["shared"] is False
    assert (await member.delete(f"{SECRETS}/{name}")).status_code == 200
    assert (await admin.delete(f"{SECRETS}/{name}", params={"shared": True})).status_code == 200


async def test_who_may_neither_use_nor_share_shared_secrets_does_not_learn_their_names(
    platform: RunningPlatform, admin: Caller
) -> None:
    name = new_name()
    await put(admin, name, "everybody's", shared=True)
    user = (await trusted(platform)).caller
    for outsider in (await platform.member(), await platform.member("viewer")):
        assert name not in (await outsider.get(SECRETS)).text
        assert (await outsider.get(f"{SECRETS}/{name}")).status_code == 404
    for insider in (user, admin):
        assert name in (await insider.get(SECRETS)).text
        assert (await insider.get(f"{SECRETS}/{name}")).json()["shared"] is True
    # A key has of it what its scopes leave.
    key = await new_key(admin, scopes=["WRITE"])
    assert name not in (await with_key(platform, key["key"]).get(SECRETS)).text
    await admin.delete(f"{SECRETS}/{name}", params={"shared": True})


async def test_a_shared_secret_is_withheld_from_authors_whose_present_role_may_not_use_it(
    platform: RunningPlatform, admin: Caller
) -> None:
    name, value = new_name(), f"sh4red-{uuid4().hex}"
    await put(admin, name, value, shared=True)
    stranger = await person(platform)
    started = await admin.deploy(TIME)
    address = (await admin.deployment_is(started["deployment_id"], "running"))["replicas"][0]["url"]
    async with recording(address) as (host, noted):
        server = {"name": "far", "url": f"http://{host}/mcp", "headers": {"X-Key": f"${{{name}}}"}}
        far = await stranger.caller.deploy(server)
        failed = await admin.deployment_is(far["deployment_id"], "failed")
        assert f"${{{name}}} is not known" in failed["reason"]
        assert "secrets:use" in failed["reason"]
        # An administrator who deploys a stranger's MCP lends them nothing.
        await stranger.caller.delete(f"/api/v1/deployments/{far['deployment_id']}")
        again = await admin.post("/api/v1/deployments", json={"tool_id": far["tool_id"]})
        await admin.deployment_is(again.json()["deployment_id"], "failed")
        assert noted == []

        await appoint(platform, stranger, "admin")
        await admin.deployment_is(again.json()["deployment_id"], "running")
        assert {request.headers.get("X-Key") for request in noted} == {value}
    await admin.delete(f"{SECRETS}/{name}", params={"shared": True, "force": True})


async def test_a_secret_that_only_a_running_deployment_refers_to_is_deleted_only_by_force(
    platform: RunningPlatform, admin: Caller
) -> None:
    name = new_name()
    await put(admin, name, "v")
    started = await admin.deploy(
        {"name": "s", "url": "http://127.0.0.1:9/mcp", "headers": {"X": f"${{{name}}}"}}
    )
    changed = await admin.put(f"/api/v1/mcps/{started['tool_id']}", json={"config": {"servers": []}})
    assert changed.status_code == 200, changed.text
    refused = await admin.delete(f"{SECRETS}/{name}")
    assert refused.status_code == 409
    assert refused.json()["mcps"] == []
    assert refused.json()["deployments"] == [{"id": started["deployment_id"], "slug": started["slug"]}]
    assert started["slug"] in refused.json()["detail"]
    await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    await admin.deployment_is(started["deployment_id"], "stopped")
    assert (await admin.delete(f"{SECRETS}/{name}")).status_code == 200


async def test_a_viewer_sees_names_and_changes_nothing(platform: RunningPlatform) -> None:
    viewer = await platform.member("viewer")
    assert (await viewer.get(SECRETS)).status_code == 200
    assert (await viewer.put(f"{SECRETS}/{new_name()}", json={"value": "v"})).status_code == 403


async def test_a_secret_that_a_configuration_refers_to_is_deleted_only_by_force(
    platform: RunningPlatform,
) -> None:
    member, other = await platform.member(), await platform.member()
    name = new_name()
    await put(member, name, "v")
    server = {"name": "s", "url": "http://localhost/mcp", "headers": {"X-Key": f"Bearer ${{{name}}}"}}
    mcp = await member.register_mcp({"servers": [server]})
    # Another author's configuration means another secret by the same name.
    await other.register_mcp({"servers": [server]})
    refused = await member.delete(f"{SECRETS}/{name}")
    assert refused.status_code == 409
    assert refused.json()["mcps"] == [{"id": mcp["id"], "slug": mcp["slug"]}]
    assert mcp["slug"] in refused.json()["detail"]
    await member.put(f"/api/v1/mcps/{mcp['id']}", json={"config": {"servers": []}})
    assert (await member.delete(f"{SECRETS}/{name}")).status_code == 200
    await put(member, name, "v")
    await member.put(f"/api/v1/mcps/{mcp['id']}", json={"config": {"servers": [server]}})
    assert (await member.delete(f"{SECRETS}/{name}", params={"force": True})).status_code == 200


async def test_deleting_a_shared_secret_names_only_who_may_use_it_and_has_none_of_their_own(
    platform: RunningPlatform,
) -> None:
    user, owner = (await trusted(platform)).caller, (await trusted(platform)).caller
    stranger, admin = await platform.member(), await platform.admin()
    name = new_name()
    await put(admin, name, "shared", shared=True)
    await put(owner, name, "own")
    server = {"name": "s", "command": "c", "env": {"KEY": f"${{{name}}}"}}
    using = await user.register_mcp({"servers": [server]})
    for other in (owner, stranger):
        await other.register_mcp({"servers": [server]})
    refused = await admin.delete(f"{SECRETS}/{name}", params={"shared": True})
    assert [mcp["id"] for mcp in refused.json()["mcps"]] == [using["id"]]


async def test_a_secret_reaches_its_server_and_is_found_nowhere_else(
    platform: RunningPlatform, admin: Caller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name, value, seen = new_name(), f's3cret {uuid4().hex} "quoted"', tmp_path / "seen"
    await put(admin, name, value)
    good = await admin.deploy(needing(name, seen))
    running = await admin.deployment_is(good["deployment_id"], "running")
    assert seen.read_text() == value

    bad_server = needing(name, tmp_path / "bad")
    bad_server["args"][-1] = bad_server["args"][-1].rpartition("\n")[0] + "\nsys.exit(os.environ['KEY'])"
    bad = await admin.deploy(bad_server)
    await admin.deployment_is(bad["deployment_id"], "failed")
    failed = await eventually(
        lambda: admin.deployment(bad["deployment_id"]),
        lambda found: any("my key is" in line for line in found["replicas"][0]["stderr_tail"]),
    )
    assert "my key is ***" in failed["replicas"][0]["stderr_tail"]
    odd = await admin.deploy({"name": "s", "command": f"/no/such/${{{name}}}"})
    nameless = await admin.deployment_is(odd["deployment_id"], "failed")
    assert "/no/such/***" in nameless["reason"]

    histories = []
    for deployment in (good, bad, odd):
        assert (await admin.delete(f"/api/v1/deployments/{deployment['deployment_id']}")).status_code == 200
        handle = platform.parts.temporal.get_workflow_handle(
            deployment_workflow_id(UUID(deployment["deployment_id"]))
        )
        histories.append(str(await handle.fetch_history()))
        histories.append((await handle.fetch_history()).to_json())
    files = [path.read_bytes() for path in platform.settings.data_dir.rglob("*") if path.is_file()]
    answers = json.dumps([running, failed, nameless, (await admin.get(SECRETS)).json()])
    places = [*files, *(text.encode() for text in (*histories, answers, caplog.text))]
    random_part = value.split()[1]
    for form in forms(random_part):
        assert not any(form in place for place in places)


async def test_the_authors_secret_wins_over_a_shared_one_and_that_over_the_environment(
    platform: RunningPlatform, admin: Caller, tmp_path: Path
) -> None:
    author = (await trusted(platform)).caller
    seen = tmp_path / "seen"

    async def started_with(name: str) -> str:
        mcp = await author.register_mcp({"servers": [needing(name, seen)]})
        started = await admin.post("/api/v1/deployments", json={"tool_id": mcp["id"]})
        await admin.deployment_is(started.json()["deployment_id"], "running")
        await admin.delete(f"/api/v1/deployments/{started.json()['deployment_id']}")
        return seen.read_text()

    # What the administrator who deploys has under this name is not the author's.
    await put(admin, "LANG", "the administrator's")
    try:
        await put(admin, "LANG", "shared", shared=True)
        assert await started_with("LANG") == "shared"
        await put(author, "LANG", "the author's")
        assert await started_with("LANG") == "the author's"
    finally:
        for shared in (True, False):
            await admin.delete(f"{SECRETS}/LANG", params={"force": True, "shared": shared})


async def test_a_missing_secret_is_named_with_what_to_do_and_heals_when_it_is_stored(
    admin: Caller, tmp_path: Path
) -> None:
    name = new_name()
    started = await admin.deploy(needing(name, tmp_path / "seen"))
    failed = await admin.deployment_is(started["deployment_id"], "failed")
    assert f"${{{name}}} is not known" in failed["reason"]
    assert f"PUT /api/v1/secrets/{name}" in failed["reason"]
    await put(admin, name, "now it is")
    await admin.deployment_is(started["deployment_id"], "running")
    assert (tmp_path / "seen").read_text() == "now it is"


async def test_a_replaced_secret_takes_effect_at_the_next_start(admin: Caller, tmp_path: Path) -> None:
    name, seen = new_name(), tmp_path / "seen"
    await put(admin, name, "old")
    started = await admin.deploy(needing(name, seen))
    await admin.deployment_is(started["deployment_id"], "running")
    await put(admin, name, "new")
    assert seen.read_text() == "old"
    await admin.delete(f"/api/v1/deployments/{started['deployment_id']}")
    again = await admin.post("/api/v1/deployments", json={"tool_id": started["tool_id"]})
    await admin.deployment_is(again.json()["deployment_id"], "running")
    assert seen.read_text() == "new"


@asynccontextmanager
async def recording(address: str) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """Serve an address that passes everything on to another one, and notes what came."""
    noted: list[web.Request] = []

    async def pass_on(request: web.Request) -> web.Response:
        noted.append(request)
        kept = {name: request.headers[name] for name in request.headers if name in PASSED_ON}
        body = await request.read()
        async with aiohttp.request(request.method, address, headers=kept, data=body) as answer:
            headers = {name: answer.headers[name] for name in answer.headers if name in PASSED_ON}
            return web.Response(body=await answer.read(), status=answer.status, headers=headers)

    app = web.Application()
    app.router.add_route("POST", "/{rest:.*}", pass_on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}", noted
    finally:
        await runner.cleanup()


async def test_a_remote_server_gets_secrets_in_its_address_and_headers_which_show_only_names(
    platform: RunningPlatform, admin: Caller
) -> None:
    name, value = new_name(), f"t0p-{uuid4().hex}"
    await put(admin, name, value)
    started = await admin.deploy(TIME)
    address = (await admin.deployment_is(started["deployment_id"], "running"))["replicas"][0]["url"]
    async with recording(address) as (host, noted):
        await put(admin, f"{name}_HOST", host)
        server = {
            "name": "far",
            "url": f"http://${{{name}_HOST}}/${{{name}}}/mcp",
            "headers": {"X-Key": f"Bearer ${{{name}}}"},
        }
        far = await admin.deploy(server)
        shown = await admin.deployment_is(far["deployment_id"], "running")
        assert shown["replicas"][0]["url"] == server["url"]
        path = f"/mcp/{far['slug']}/v1/tools/get_current_time"
        watched = len(noted)
        called = await admin.post(path, json={"timezone": "UTC"})
        assert called.status_code == 200, called.text
        assert len(noted) > watched
        assert {request.headers.get("X-Key") for request in noted} == {f"Bearer {value}"}
        assert {request.path for request in noted} == {f"/{value}/mcp"}
    # The server is gone now, and what is said of it names no secret either.
    lost = await admin.deployment_is(far["deployment_id"], "unhealthy")
    refused = await admin.post(path, json={"timezone": "UTC"})
    assert refused.status_code == 503
    assert value not in json.dumps(lost) + refused.text
    handle = platform.parts.temporal.get_workflow_handle(deployment_workflow_id(UUID(far["deployment_id"])))
    assert value not in str(await handle.fetch_history())


async def test_a_secret_with_a_line_end_cannot_be_a_header_and_the_reason_says_so(admin: Caller) -> None:
    name = new_name()
    await put(admin, name, "two\nlines")
    far = await admin.deploy(
        {"name": "far", "url": "http://127.0.0.1:9/mcp", "headers": {"X-Key": f"${{{name}}}"}}
    )
    failed = await admin.deployment_is(far["deployment_id"], "failed")
    assert "the header X-Key cannot be sent" in failed["reason"]
    assert "two" not in failed["reason"]
