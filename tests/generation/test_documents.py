"""Configurations from OpenAPI documents."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from aiohttp import web

from tests.generation.asking import Generating

KEYED = {"type": "apiKey", "in": "header", "name": "X-API-Key"}


def document(url: str | None, **more: Any) -> dict[str, Any]:
    """Describe an API with two operations."""
    pets = {
        "get": {"operationId": "listPets", "summary": "List pets", "responses": {}},
        "post": {"operationId": "addPet", "responses": {}},
        "head": {"operationId": "headPets", "responses": {}},
    }
    servers = {"servers": [{"url": url}]} if url else {}
    info = {"title": "Pet Store", "version": "2.1", "description": "Keeps pets."}
    return {"openapi": "3.1.0", "info": info, **servers, "paths": {"/pets": pets}} | more


@pytest.fixture
async def api() -> AsyncIterator[str]:
    """Give the address of an API."""
    app = web.Application()

    async def pets(_request: web.Request) -> web.Response:
        return web.json_response([{"name": "Rex"}])

    app.router.add_get("/pets", pets)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_each_operation_of_a_document_is_a_tool(generating: Generating, api: str) -> None:
    result = await generating.result(openapi=document(api))
    assert result["tools"] == ["listPets", "addPet"]
    assert result["config"]["servers"] == [{"name": "api", "type": "rest", "url": api}]
    assert (result["name"], result["slug"], result["engine"]) == ("Pet Store", "pet-store", "rules")
    assert result["description"] == "Keeps pets."
    assert result["sources"][0]["source"] == "openapi:Pet Store 2.1"
    assert [each["name"] for each in result["skipped"]] == ["HEAD /pets"]
    (trial,) = [each for each in result["verified"] if each["what"] == "trial"]
    assert trial["outcome"] == "passed"
    assert trial["how"] == "api: its address answered; the tools are those of the document"
    assert "The API api answered" in [each["statement"] for each in result["sources"]]
    assert generating.provider.requests == []


async def test_text_in_yaml_is_read_and_says_which_secrets_it_needs(generating: Generating, api: str) -> None:
    keyed = document(None, components={"securitySchemes": {"key": KEYED}}, security=[{"key": []}])
    result = await generating.result(openapi=yaml.safe_dump(keyed), base_url=api, name="Pets")
    (secret,) = result["secrets"]
    assert (secret["name"], secret["known"]) == ("PETS_KEY", False)
    headers = result["config"]["servers"][0]["headers"]
    assert headers == {"X-API-Key": "${PETS_KEY}"}


async def test_an_api_that_does_not_answer_is_told_as_that(generating: Generating) -> None:
    result = await generating.result(openapi=document("http://127.0.0.1:9"))
    assert result["warnings"][0].startswith("It did not pass its trial: nothing answers at its address")
    assert ("trial", "failed") in {(each["what"], each["outcome"]) for each in result["verified"]}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"swagger": "2.0"}, "Swagger 2.0"),
        ("{", "is no JSON"),
        (document(None), "does not say where the API is"),
        (json.dumps({"openapi": "3.1.0", "info": {}, "paths": {}}), "give base_url"),
    ],
)
async def test_a_document_that_makes_no_configuration_fails_with_the_reason(
    generating: Generating, given: Any, reason: str
) -> None:
    error = await generating.error(openapi=given)
    assert error.startswith("the OpenAPI document ")
    assert reason in error
