"""Registering what was generated: `POST /api/v1/mcps/from-task/{task_id}`."""

from typing import Any
from uuid import uuid4

import pytest

from tests.generation.asking import UNTRIED, Generating
from tests.platform import Caller


async def clock(generating: Generating, caller: Caller | None = None) -> dict[str, Any]:
    """Have a configuration written, without a trial."""
    slug = f"clock-{uuid4().hex[:8]}"
    return await generating.task(caller, description="current time", slug=slug, engine="rules", **UNTRIED)


async def test_what_a_task_generated_is_registered_with_its_origin(generating: Generating) -> None:
    member = await generating.platform.member()
    task = await clock(generating, member)
    answer = await member.post(f"/api/v1/mcps/from-task/{task['task_id']}")
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["slug"], made["name"], made["status"]) == (task["result"]["slug"], "Time", "draft")
    assert answer.headers["ETag"] == '"1"'
    shown = (await member.get(f"/api/v1/mcps/{made['id']}")).json()
    assert shown["config"] == task["result"]["config"]
    assert shown["description"] == task["result"]["description"]
    (entry,) = (await member.get(f"/api/v1/mcps/{made['id']}/history")).json()["versions"]
    assert entry["origin"] == f"task:{task['task_id']}"


async def test_it_is_registered_as_the_body_says(generating: Generating) -> None:
    task = await clock(generating)
    slug = f"other-{uuid4().hex[:8]}"
    order = {"name": "My clock", "slug": slug, "version": "2.0.0", "tags": ["time"]}
    answer = await generating.admin.post(f"/api/v1/mcps/from-task/{task['task_id']}", json=order)
    assert answer.status_code == 201, answer.text
    shown = (await generating.admin.get(f"/api/v1/mcps/{answer.json()['id']}")).json()
    assert {name: shown[name] for name in order} == order


async def test_a_task_makes_one_mcp_and_says_which(generating: Generating) -> None:
    task = await clock(generating)
    path = f"/api/v1/mcps/from-task/{task['task_id']}"
    made = (await generating.admin.post(path)).json()
    again = await generating.admin.post(path, json={"slug": f"again-{uuid4().hex[:8]}"})
    assert again.status_code == 409
    assert (again.json()["mcp_id"], again.json()["slug"]) == (made["id"], made["slug"])


async def test_a_slug_that_was_taken_since_is_a_conflict_with_a_free_one(generating: Generating) -> None:
    task = await clock(generating)
    slug = task["result"]["slug"]
    await generating.admin.register_mcp({}, slug=slug)
    answer = await generating.admin.post(f"/api/v1/mcps/from-task/{task['task_id']}")
    assert answer.status_code == 409
    assert answer.json()["free_slug"] == f"{slug}-2"
    taken = await generating.admin.post(
        f"/api/v1/mcps/from-task/{task['task_id']}", json={"slug": f"{slug}-2"}
    )
    assert taken.status_code == 201, taken.text


async def test_somebody_elses_task_is_not_found(generating: Generating) -> None:
    task = await clock(generating, await generating.platform.member())
    stranger = await generating.platform.member()
    for task_id in (task["task_id"], uuid4(), "no-task"):
        answer = await stranger.post(f"/api/v1/mcps/from-task/{task_id}")
        assert answer.status_code == 404, answer.text


async def test_a_task_without_a_configuration_makes_none(generating: Generating) -> None:
    failed = await generating.task(description="Steer the coffee machine", engine="rules")
    answer = await generating.admin.post(f"/api/v1/mcps/from-task/{failed['task_id']}")
    assert (answer.status_code, answer.json()["status"]) == (409, "failed")
    judged = await generating.admin.start_analysis()
    await generating.admin.task_is(judged, "completed", "failed")
    answer = await generating.admin.post(f"/api/v1/mcps/from-task/{judged}")
    assert answer.status_code == 409
    assert "only generations make MCPs" in answer.json()["detail"]


async def test_who_may_not_register_mcps_may_not_here(generating: Generating) -> None:
    task = await clock(generating)
    viewer = await generating.platform.member("viewer")
    answer = await viewer.post(f"/api/v1/mcps/from-task/{task['task_id']}")
    assert answer.status_code == 403


SOURCES: dict[str, Any] = {
    "description": "x",
    "openapi": {"openapi": "3.1.0"},
    "repository_url": "https://git.example.com/a",
}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"description": ""},
        {"description": "  "},
        {"openapi": 5},
        {"openapi": " "},
        {"openapi": {}},
        {"requirements": "weather"},
        {"description": "x", "try": "yes"},
        {"description": "x", "engine": "magic"},
        {"description": "x", "slug": "Not A Slug"},
        {"description": "x", "base_url": "http://a.example.com"},
        {"description": "x", "ref": "main"},
        {"description": "x", "path": "src"},
        {"repository_url": "https://git.example.com/a", "path": "../x"},
        {"description": "x", "unknown": 1},
        {"openapi": "openapi: 3.1.0", "base_url": "nowhere"},
        {"openapi": "openapi: 3.1.0", "repository_url": "https://git.example.com/a"},
        {"repository_url": "https://user:password@git.example.com/a"},
        {"repository_url": "file:///etc"},
        {"repository_url": "https://git.example.com/a", "ref": "-u"},
        {"requirements": {"x": "y" * 30_000}},
        SOURCES,
    ],
)
async def test_a_request_that_is_not_one_source_is_refused(
    generating: Generating, body: dict[str, Any]
) -> None:
    answer = await generating.admin.post("/api/v1/analyze/generate-config", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error_code"] == "VALIDATION_ERROR"


async def test_what_is_blank_is_refused_with_its_field_and_what_would_be_right(
    generating: Generating,
) -> None:
    for body, words in (
        ({"description": "  "}, "is blank; it must have a text"),
        ({"openapi": " "}, "must be an OpenAPI 3.0 or 3.1 document: an object, or its text in JSON or YAML"),
        ({"openapi": 5}, "must be an OpenAPI 3.0 or 3.1 document: an object, or its text in JSON or YAML"),
    ):
        answer = await generating.admin.post("/api/v1/analyze/generate-config", json=body)
        (fault,) = answer.json()["detail"]
        assert fault["loc"] == ["body", *body]
        assert fault["msg"].endswith(words)
