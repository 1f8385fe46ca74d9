"""OpenAPI documents that become MCPs, deployed and called."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.platform import Caller, RunningPlatform
from tests.rest_upstreams.conftest import Api, api
from tests.waiting import eventually

__all__ = ["api"]

IMPORT = "/api/v1/mcps/import/openapi"
PETSTORE = (Path(__file__).parents[1] / "rest_upstreams/documents/petstore.yaml").read_text()


def document(**paths: Any) -> dict[str, Any]:
    """Describe an API of pets whose credential is a bearer token."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pets", "description": "All pets", "version": "1"},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/pets/{id}": {
                "get": {
                    "operationId": "pet",
                    "parameters": [
                        {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
                    ],
                }
            },
            "/private/pets": {"get": {"operationId": "secretPets", "security": [{"token": []}]}},
            **paths,
        },
    }


@pytest.fixture
async def author(platform: RunningPlatform) -> AsyncIterator[Caller]:
    """Give somebody whose deployments are stopped after the test."""
    caller = await platform.admin()
    yield caller
    for deployment in (await caller.get("/api/v1/deployments")).json()["deployments"]:
        if deployment["status"] != "stopped":
            await caller.delete(f"/api/v1/deployments/{deployment['deployment_id']}")


def slug() -> str:
    """Give a slug that no other test uses."""
    return f"pets-{uuid4().hex[:8]}"


async def test_a_document_is_imported_deployed_watched_and_called(author: Caller, api: Api) -> None:
    name = slug()
    answer = await author.post(IMPORT, json={"document": document(), "slug": name, "base_url": api.url})
    assert answer.status_code == 201, answer.text
    report = answer.json()
    assert report["tools"] == ["pet", "secretPets"]
    (secret,) = report["secrets"]
    assert secret["known"] is False
    assert secret["name"].endswith("_TOKEN")
    stored = await author.put(f"/api/v1/secrets/{secret['name']}", json={"value": api.key})
    assert stored.status_code in (200, 201, 204), stored.text

    config = (await author.get(f"/api/v1/mcps/{report['id']}")).json()["config"]
    assert api.key not in str(config)
    order = {"tool_id": report["id"], "config": {"replicas": 1}}
    started = await author.post("/api/v1/deployments", json=order)
    assert started.status_code in (200, 201, 202), started.text
    number = started.json()["deployment_id"]
    await author.deployment_is(number, "running")
    found = await author.post(f"/mcp/{name}/v1/tools/pet", json={"id": "7"})
    assert (found.status_code, found.json()) == (200, {"id": "7"})
    private = await author.post(f"/mcp/{name}/v1/tools/secretPets", json={})
    assert private.json()["data"] == [{"id": 1}]


async def test_an_api_that_fails_its_health_check_is_unhealthy(author: Caller, api: Api) -> None:
    server = {"name": "api", "type": "rest", "url": api.url, "health_path": "/health"}
    tools = [{"name": "pet", "parameters": {"id": {"type": "string"}}, "request": {"path": "/pets/{id}"}}]
    created = await author.post(
        "/api/v1/mcps",
        json={
            "name": "Pets",
            "slug": slug(),
            "version": "1.0.0",
            "config": {"servers": [server], "tools": tools},
        },
    )
    assert created.status_code == 201, created.text
    order = {"tool_id": created.json()["id"], "config": {"replicas": 1}}
    started = (await author.post("/api/v1/deployments", json=order)).json()
    await author.deployment_is(started["deployment_id"], "running")
    api.healthy = False
    # A check that a slow machine did not answer in time may be the last one before; then it says so later.
    await eventually(
        lambda: author.deployment(started["deployment_id"]),
        lambda seen: seen["status"] == "unhealthy" and "HTTP 503" in str(seen.get("reason")),
    )
    api.healthy = True
    await author.deployment_is(started["deployment_id"], "running")


async def test_yaml_is_read_and_the_report_says_what_was_skipped(platform: RunningPlatform) -> None:
    member = await platform.member()
    order = {
        "document": PETSTORE,
        "slug": slug(),
        "include": {"tags": ["pet"]},
        "exclude": {"operations": ["addPet"]},
    }
    report = (await member.post(IMPORT, json=order)).json()
    assert "findPetsByStatus" in report["tools"]
    assert "addPet" not in report["tools"]
    assert {
        "name": "POST /pet/{petId}/uploadImage",
        "reason": "it takes files (multipart), which no argument can be",
    } in report["skipped"]
    stored = (await member.get(f"/api/v1/mcps/{report['id']}")).json()
    assert (stored["name"], stored["description"], stored["status"]) == ("Pet store", "Sells pets.", "draft")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"document": "nonsense: ["}, 422, "is no YAML"),
        ({"document": {"openapi": "3.1.0", "paths": {}}}, 422, "give base_url"),
        ({"base_url": "ftp://pets.example.com"}, 422, "absolute http"),
        ({"slug": "smart"}, 422, "reserved"),
        ({"url": "https://pets.example.com/openapi.json"}, 422, "Extra inputs"),
    ],
)
async def test_what_cannot_be_imported_is_refused_with_the_reason(
    platform: RunningPlatform, change: dict[str, Any], status: int, words: str
) -> None:
    member = await platform.member()
    answer = await member.post(IMPORT, json={"document": PETSTORE, "slug": slug(), **change})
    assert answer.status_code == status
    assert words in answer.text


async def test_a_slug_that_is_taken_is_a_conflict_and_viewers_import_nothing(
    platform: RunningPlatform,
) -> None:
    member = await platform.member()
    order = {"document": PETSTORE, "slug": slug()}
    assert (await member.post(IMPORT, json=order)).status_code == 201
    assert (await member.post(IMPORT, json=order)).status_code == 409
    viewer = await platform.member("viewer")
    assert (await viewer.post(IMPORT, json={**order, "slug": slug()})).status_code == 403
