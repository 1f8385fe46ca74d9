"""Endpoints of webhooks."""

from itertools import count
from typing import Any
from urllib.parse import urlsplit

from tests.github.double.calls import Answer, Call, Endpoint, Refusal, in_repository, not_found
from tests.github.double.repositories import moment

_NUMBERS = count(500)
_MOST = 20


def _shown(hook: dict[str, Any]) -> dict[str, Any]:
    config = hook["config"]
    return hook | {"config": config | ({"secret": "********"} if "secret" in config else {})}


def _checked(call: Call, config: dict[str, Any], but: int | None = None) -> None:
    """Refuse what GitHub refuses."""
    url = config.get("url")
    if not url or urlsplit(url).scheme not in {"http", "https"}:
        raise Refusal(
            422,
            "Validation Failed",
            [{"resource": "Hook", "code": "custom", "message": "Config must contain URL for webhooks"}],
        )
    for hook in call.repository.hooks.values():
        if hook["config"]["url"] == url and hook["id"] != but:
            wrong = {
                "resource": "Hook",
                "code": "custom",
                "message": "Hook already exists on this repository",
            }
            raise Refusal(422, "Validation Failed", [wrong])


async def _list(call: Call) -> Answer:
    return call.paged([_shown(hook) for hook in call.repository.hooks.values()])


async def _create(call: Call) -> Answer:
    config = call.body.get("config", {})
    _checked(call, config)
    if len(call.repository.hooks) >= _MOST:
        wrong = {
            "resource": "Hook",
            "code": "custom",
            "message": 'The "push" event cannot have more than 20 hooks',
        }
        raise Refusal(422, "Validation Failed", [wrong])
    number = next(_NUMBERS)
    hook = {
        "type": "Repository",
        "id": number,
        "name": "web",
        "active": call.body.get("active", True),
        "events": call.body.get("events", ["push"]),
        "config": config,
        "created_at": moment(),
        "updated_at": moment(),
        "url": f"{call.repository.api}/hooks/{number}",
    }
    call.repository.hooks[number] = hook
    return Answer(_shown(hook), 201)


def _found(call: Call) -> dict[str, Any]:
    number = call.words["number"]
    hook = call.repository.hooks.get(int(number)) if number.isdigit() else None
    if hook is None:
        raise not_found()
    return hook


async def _get(call: Call) -> Answer:
    return Answer(_shown(_found(call)))


async def _edit(call: Call) -> Answer:
    hook = _found(call)
    if "config" in call.body:
        _checked(call, call.body["config"], hook["id"])
    hook |= {name: call.body[name] for name in ("config", "events", "active") if name in call.body}
    hook["updated_at"] = moment()
    return Answer(_shown(hook))


async def _delete(call: Call) -> Answer:
    del call.repository.hooks[_found(call)["id"]]
    return Answer(None, 204)


ENDPOINTS: list[Endpoint] = [
    *in_repository("GET", "/hooks", "admin", hooks=True)(_list),
    *in_repository("POST", "/hooks", "admin", hooks=True)(_create),
    *in_repository("GET", "/hooks/{number}", "admin", hooks=True)(_get),
    *in_repository("PATCH", "/hooks/{number}", "admin", hooks=True)(_edit),
    *in_repository("DELETE", "/hooks/{number}", "admin", hooks=True)(_delete),
]
