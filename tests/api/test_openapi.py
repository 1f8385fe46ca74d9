"""The OpenAPI document says of each operation what it needs, takes, gives, and how it fails."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from mcp_platform.settings import Settings
from tests.platform import ADMIN_PASSWORD, RunningPlatform

DOCUMENT: dict[str, Any] = create_app(Settings(data_dir=Path("unused"))).openapi()
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
OPEN = {
    "POST /api/v1/auth/register",
    "POST /api/v1/auth/login",
    "POST /api/v1/auth/token",
    "POST /api/v1/auth/refresh",
    "POST /api/v1/github/webhook",
    "GET /health",
    "GET /metrics",
}
operations = pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])


def bodies(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Everything in JSON that goes in or out."""
    answers = {status: answer.get("content", {}) for status, answer in operation["responses"].items()}
    contents = answers | {"request": operation.get("requestBody", {}).get("content", {})}
    return [
        (place, content["application/json"])
        for place, content in contents.items()
        if "application/json" in content
    ]


LEAVING = {
    "POST /api/v1/auth/logout",
    "GET /api/v1/auth/sessions",
    "DELETE /api/v1/auth/sessions/{session_id}",
    "POST /api/v1/auth/me/password",
}
"""What everybody who is signed in may do."""


@operations
def test_an_operation_says_what_it_does_and_which_credential_it_takes(
    name: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    if name in OPEN:
        assert operation["security"] == []
    else:
        assert operation["security"] == [{"AccessToken": []}, {"ApiKey": []}]
        needed = "Permission: none; a session" if name in LEAVING else "Permission: `"
        assert needed in operation["description"]


@operations
def test_every_example_is_what_its_schema_describes(name: str, operation: dict[str, Any]) -> None:
    for place, content in bodies(operation):
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        problems = [error.message for error in Draft202012Validator(schema).iter_errors(content["example"])]
        assert problems == [], place


@operations
def test_an_operation_lists_its_errors_in_the_contracts_form(name: str, operation: dict[str, Any]) -> None:
    if name in {"GET /health", "GET /metrics"}:
        return
    expected = {"401", "403", "429", "503"}
    expected |= {"404"} if "{" in name else set()
    expected |= {"400", "413", "422"} if "requestBody" in operation else set()
    assert expected <= operation["responses"].keys()
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            example = answer["content"]["application/json"]["example"]
            assert {"detail", "error_code", "request_id"} <= example.keys()


def test_both_credentials_are_described() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["ApiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    flow = schemes["AccessToken"]["flows"]["password"]
    assert f"POST {flow['tokenUrl']}" in OPEN


async def test_the_password_form_of_the_documentation_signs_in(platform: RunningPlatform) -> None:
    caller = platform.caller()
    flow = DOCUMENT["components"]["securitySchemes"]["AccessToken"]["flows"]["password"]
    # As the page sends it.
    form = {"grant_type": "password", "username": "admin", "password": ADMIN_PASSWORD}
    answer = await caller.post(flow["tokenUrl"], data=form)
    assert answer.status_code == 200, answer.text
    caller.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    assert (await caller.get("/api/v1/mcps")).status_code == 200
    wrong = await platform.caller().post(flow["tokenUrl"], data=form | {"password": "not that one"})
    assert wrong.status_code == 401
