"""Every error has the contract's form, and an id that its log line has too."""

import json
import logging
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import pytest
from fastapi import FastAPI, WebSocket
from starlette.testclient import TestClient, WebSocketDenialResponse
from temporalio.service import RPCError, RPCStatusCode

from api.errors import install_error_handlers
from tests.platform import RunningPlatform
from tests.waiting import eventually


async def test_an_unknown_path_is_answered_with_404_and_the_path(platform: RunningPlatform) -> None:
    answer = await platform.caller().get("/api/v1/nothing", headers={"X-Request-ID": "abc-123"})
    assert answer.status_code == 404
    assert answer.headers["X-Request-ID"] == "abc-123"
    assert answer.json() == {
        "detail": "No such path: /api/v1/nothing",
        "error_code": "NOT_FOUND",
        "resource_type": "path",
        "resource_id": "/api/v1/nothing",
        "request_id": "abc-123",
    }


async def test_a_request_id_that_is_not_sane_is_replaced(platform: RunningPlatform) -> None:
    answer = await platform.caller().get("/nothing", headers={"X-Request-ID": "a b;c" * 100})
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]
    assert " " not in answer.json()["request_id"]


async def test_a_body_that_is_no_json_is_answered_with_400(platform: RunningPlatform) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await platform.caller().post("/api/v1/auth/login", content=b'{"username": ', headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_REQUEST"
    assert "not JSON" in answer.json()["detail"]


async def test_a_body_of_the_wrong_shape_names_each_field_and_shows_no_input(
    platform: RunningPlatform,
) -> None:
    body = {"username": "x", "email": "nowhere", "password": "short"}
    answer = await platform.caller().post("/api/v1/auth/register", json=body)
    assert answer.status_code == 422
    found = answer.json()
    assert found["error_code"] == "VALIDATION_ERROR"
    assert {tuple(problem["loc"]) for problem in found["detail"]} == {
        ("body", "username"),
        ("body", "email"),
        ("body", "password"),
    }
    assert all(set(problem) <= {"loc", "msg", "type", "ctx"} for problem in found["detail"])
    assert "short" not in answer.text
    assert "12 to 256 characters" in answer.text


async def test_a_misspelt_field_is_noticed(platform: RunningPlatform) -> None:
    body = {"username": "somebody", "pasword": "x"}
    answer = await platform.caller().post("/api/v1/auth/login", json=body)
    assert answer.status_code == 422
    assert ["body", "pasword"] in [problem["loc"] for problem in answer.json()["detail"]]


async def test_a_method_that_is_not_offered_is_answered_with_405(platform: RunningPlatform) -> None:
    answer = await platform.caller().delete("/api/v1/auth/login")
    assert answer.status_code == 405
    assert answer.json()["error_code"] == "METHOD_NOT_ALLOWED"
    assert answer.headers["Allow"] == "POST"
    several = await platform.caller().delete("/api/v1/mcps")
    assert several.headers["Allow"] == "GET, POST"
    assert several.json()["detail"] == "This path takes GET, POST"


async def test_the_bare_address_leads_to_the_documentation(platform: RunningPlatform) -> None:
    answer = await platform.caller().get("/", follow_redirects=True)
    assert answer.status_code == 200
    assert answer.url.path == "/api/docs"
    assert "/api/static/" in answer.text


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
async def test_a_body_over_the_limit_is_answered_with_413(platform: RunningPlatform, declared: bool) -> None:
    content = b'"' + b"x" * 150_000 + b'"'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 10_000):
            yield content[start : start + 10_000]

    answer = await platform.caller().post(
        "/api/v1/auth/login",
        content=content if declared else pieces(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["error_code"] == "PAYLOAD_TOO_LARGE"
    assert answer.json()["limit_bytes"] == 100_000
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]


async def test_without_a_credential_the_answer_is_401_and_names_the_scheme(platform: RunningPlatform) -> None:
    for path in ("/api/v1/mcps", "/events", "/mcp/any/v1"):
        answer = await platform.caller().get(path)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["error_code"] == "UNAUTHORIZED"


async def test_a_missing_permission_is_named(platform: RunningPlatform) -> None:
    viewer = await platform.member("viewer")
    answer = await viewer.delete("/api/v1/mcps/770e8400-e29b-41d4-a716-446655440002")
    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "Insufficient permissions to perform this action",
        "error_code": "FORBIDDEN",
        "required_permission": "mcps:delete",
        "request_id": answer.headers["X-Request-ID"],
    }


async def test_a_fault_of_ours_is_answered_with_500_whose_id_is_in_the_log(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caller = await platform.member()

    def broken(*_args: object) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(platform.parts.stores, "read", broken)
    with caplog.at_level(logging.INFO):
        answer = await caller.get("/api/v1/mcps")
    assert answer.status_code == 500
    found = answer.json()
    assert found["detail"] == "An internal error occurred"
    assert found["error_code"] == "INTERNAL_ERROR"
    assert "secret" not in answer.text
    assert any(found["request_id"] in json.dumps(str(record.msg)) for record in caplog.records)


@pytest.mark.parametrize("path", ["/events?token=€", "/events?token=%00", "/mcp/any/v1?token=x"])
async def test_a_credential_that_cannot_be_one_is_answered_with_401(
    platform: RunningPlatform, path: str
) -> None:
    assert (await platform.caller().get(path)).status_code == 401


async def test_an_origin_that_cannot_be_one_is_answered_with_403(platform: RunningPlatform) -> None:
    member = await platform.member()
    answer = await member.get("/mcp/any/v1", headers={"Origin": "http://["})
    assert answer.status_code == 403


async def test_a_moment_outside_the_calendar_is_answered_with_422(platform: RunningPlatform) -> None:
    member = await platform.member()
    order = {"name": "late", "expires_at": "9999-12-31T23:59:59-12:00"}
    answer = await member.post("/api/v1/auth/api-keys", json=order)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "expires_at"]


@pytest.mark.parametrize(
    ("status", "answered"),
    [
        (RPCStatusCode.UNAVAILABLE, 503),
        (RPCStatusCode.RESOURCE_EXHAUSTED, 503),
        (RPCStatusCode.UNKNOWN, 503),
        (RPCStatusCode.INTERNAL, 503),
        (RPCStatusCode.INVALID_ARGUMENT, 500),
    ],
)
async def test_what_temporal_cannot_do_now_is_503_and_what_we_asked_wrongly_is_500(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch, status: RPCStatusCode, answered: int
) -> None:
    caller = await platform.member()
    fails = AsyncMock(side_effect=RPCError("in trouble", status, b""))
    monkeypatch.setattr(platform.parts.temporal, "start_workflow", fails)
    answer = await caller.post("/api/v1/analyze/feasibility", json={"config": {"name": "An idea"}})
    assert answer.status_code == answered, answer.text
    if answered == 503:
        assert answer.json()["error_code"] == "SERVICE_UNAVAILABLE"
        assert "Temporal" in answer.json()["detail"]


async def test_a_websocket_is_refused_with_503_while_temporal_has_trouble() -> None:
    app = FastAPI()
    install_error_handlers(app)

    @app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        raise RPCError("in trouble", RPCStatusCode.UNAVAILABLE, b"")

    with pytest.raises(WebSocketDenialResponse) as refused, TestClient(app).websocket_connect("/ws"):
        pass
    assert refused.value.status_code == 503


async def test_the_log_line_of_a_refused_request_has_the_errors_code(
    platform: RunningPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    caller = platform.caller()

    async def logged() -> dict[str, str | None]:
        for path in ("/api/v1/nothing", "/mcp/any/v1", "/api/openapi.json"):
            await caller.get(path)
        lines = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
        return {line["path"]: line.get("error_code") for line in lines if line["event"] == "request"}

    # Of calls that are refused with one status, one a second leaves a line.
    codes = await eventually(logged, lambda found: "/mcp/any/v1" in found)
    assert codes["/mcp/any/v1"] == "UNAUTHORIZED"
    assert codes["/api/v1/nothing"] == "NOT_FOUND"
    assert codes["/api/openapi.json"] is None
