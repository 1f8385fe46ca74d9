"""An older server asks in the middle of a call: clients of both eras are asked in their own way."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.front.asking import QUESTION, asking_server
from tests.front.raw import Answer, Session, modern, post
from tests.front.test_sessions import another, with_redis
from tests.gateway.conftest import Platform, running_platform, settings_for
from tests.runner.conftest import until
from tests.waiting import PATIENCE

ELICITING: dict[str, Any] = {"elicitation": {}}


async def call(
    platform: Platform,
    key: str | None = None,
    capabilities: dict[str, Any] | None = None,
    url: str | None = None,
    **params: Any,
) -> Answer:
    """Call the tool as a modern client does."""
    params.setdefault("arguments", {})
    declared = ELICITING if capabilities is None else capabilities
    message, headers = modern("tools/call", declared, name="ask", **params)
    headers["X-API-Key"] = key or platform.key
    return await post(url or platform.address("asking"), message, headers)


def reply(asked: Answer, number: int) -> dict[str, Any]:
    """Give what the client sends with its request when it comes back."""
    answer = {"action": "accept", "content": {"n": number}}
    responses = dict.fromkeys(asked.result["inputRequests"], answer)
    return {"inputResponses": responses, "requestState": asked.result["requestState"]}


async def test_a_modern_client_is_asked_by_an_unfinished_result(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        asked = await call(platform, arguments={"times": 2})
        assert asked.result["resultType"] == "input_required"
        (question,) = asked.result["inputRequests"].values()
        assert question == {"method": "elicitation/create", "params": QUESTION}
        again = await call(platform, arguments={"times": 2}, **reply(asked, 40))
        assert again.result["resultType"] == "input_required"
        assert again.result["requestState"] != asked.result["requestState"]
        done = await call(platform, arguments={"times": 2}, **reply(again, 2))
        assert (done.result["resultType"], done.result["content"][0]["text"]) == ("complete", "42")
        assert ELICITING in server.capabilities


async def test_what_is_asked_is_for_its_own_client_and_once(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        stranger = (await platform.add_key(await platform.add_user()))[1]
        asked = await call(platform)
        for key, status in ((stranger, 400), (platform.key, 200), (platform.key, 400)):
            answer = await call(platform, key, **reply(asked, 1))
            assert answer.status == status
            if status == 400:
                assert answer.message["error"]["code"] == -32602
                assert "requestState is not known" in answer.message["error"]["message"]


async def test_an_answer_that_is_left_out_is_asked_for_again(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        asked = await call(platform)
        again = await call(platform, requestState=asked.result["requestState"], inputResponses={})
        assert again.result["inputRequests"] == asked.result["inputRequests"]
        assert (await call(platform, **reply(again, 3))).result["content"][0]["text"] == "3"


async def test_a_client_that_offers_nothing_is_not_asked(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        answer = await call(platform, capabilities={})
        assert answer.result["content"][0]["text"].startswith("refused: ")
        session = Session(platform.address("asking"), platform.key)
        await session.open()
        older = await session.call("ask")
        assert older.result["content"][0]["text"].startswith("refused: ")


async def test_an_older_client_is_asked_on_the_stream_of_its_call(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session = Session(platform.address("asking"), platform.key, ELICITING)
        await session.open()
        tasks = []

        async def answer(event: dict[str, Any]) -> None:
            assert (event["method"], event["params"]) == ("elicitation/create", QUESTION)
            result = {"action": "accept", "content": {"n": 21}}
            message = {"jsonrpc": "2.0", "id": event["id"], "result": result}
            tasks.append(asyncio.create_task(post(session.url, message, session.headers)))

        done = await session.call("ask", {"times": 2}, answer)
        assert done.result["content"][0]["text"] == "42"
        assert [(await task).status for task in tasks] == [202, 202]


async def test_an_answer_from_another_session_is_not_taken(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session, other = (Session(platform.address("asking"), platform.key, ELICITING) for _ in range(2))
        await session.open()
        await other.open()

        async def answer(event: dict[str, Any]) -> None:
            for each, number in ((other, 666), (session, 1)):
                result = {"action": "accept", "content": {"n": number}}
                message = {"jsonrpc": "2.0", "id": event["id"], "result": result}
                await post(each.url, message, each.headers)

        assert (await session.call("ask", {}, answer)).result["content"][0]["text"] == "1"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_client_that_leaves_takes_its_call_with_it(platform: Platform, era: str) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session = Session(platform.address("asking"), platform.key, ELICITING)
        await session.open()
        asked = asyncio.Event()

        async def note(_event: dict[str, Any]) -> None:
            asked.set()

        if era == "legacy":
            leaving = asyncio.create_task(session.call("ask", {}, note))
            async with asyncio.timeout(10):
                await asked.wait()
            leaving.cancel()
        else:
            # The call waits for the client's answers; it ends when they do not come.
            first = await call(platform)
            rounds = platform.gateway._front._modern.rounds
            rounds._expire(first.result["requestState"])
        async with asyncio.timeout(10):
            await server.cancelled.wait()


async def test_a_client_may_come_back_to_another_gateway_process(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.front.rounds._ELSEWHERE", 20.0)
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with asking_server() as server, running_platform(settings) as platform:
        await platform.deploy("asking", server.url)
        async with another(platform) as address:
            url = f"{address}/mcp/asking/v1"
            first = await call(platform, arguments={"times": 2})
            second = await call(platform, url=url, arguments={"times": 2}, **reply(first, 40))
            assert second.result["resultType"] == "input_required"
            done = await call(platform, url=url, arguments={"times": 2}, **reply(second, 2))
            assert done.result["content"][0]["text"] == "42"
            monkeypatch.setattr("gateway.front.rounds._ELSEWHERE", 0.5)
            assert (await call(platform, url=url, **reply(second, 2))).status == 400


async def test_a_call_whose_client_was_told_to_begin_anew_does_not_go_on_besides(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with asking_server() as server, running_platform(settings) as platform:
        await platform.deploy("asking", server.url)
        async with another(platform) as address:
            rounds = platform.gateway._front._modern.rounds
            go_on, heard, hear = asyncio.Event(), asyncio.Event(), rounds.hear

            async def stand_still(data: dict[str, Any]) -> None:
                await go_on.wait()
                await hear(data)
                heard.set()

            monkeypatch.setattr(rounds, "hear", stand_still)
            monkeypatch.setattr("gateway.front.rounds._ELSEWHERE", 0.5)
            first = await call(platform)
            late = await call(platform, url=f"{address}/mcp/asking/v1", **reply(first, 1))
            assert late.status == 400
            go_on.set()
            async with asyncio.timeout(PATIENCE):
                await heard.wait()
            # It has not taken those answers: it waits for its client's still.
            done = await call(platform, **reply(first, 2))
            assert done.result["content"][0]["text"] == "2"


async def test_a_call_is_taken_up_by_one_of_two_requests_that_come_at_once(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.front.rounds._ELSEWHERE", 20.0)
    settings = with_redis(settings_for(tmp_path), redis_url)
    async with asking_server() as server, running_platform(settings) as platform:
        await platform.deploy("asking", server.url)
        async with another(platform) as address:
            rounds = platform.gateway._front._modern.rounds
            hear, answers = rounds.hear, list[dict[str, Any]]()

            async def together(data: dict[str, Any]) -> None:
                if "answers" not in data:
                    await hear(data)
                    return
                answers.append(data)  # both were told that the call is here
                if len(answers) == 2:
                    for each in answers:
                        await hear(each)

            monkeypatch.setattr(rounds, "hear", together)
            first = await call(platform)
            url = f"{address}/mcp/asking/v1"
            both = await asyncio.gather(*(call(platform, url=url, **reply(first, 5)) for _ in range(2)))
            assert sorted(each.status for each in both) == [200, 400]


async def test_a_clients_notification_reaches_the_server_of_its_session(platform: Platform) -> None:
    async with asking_server() as server:
        await platform.deploy("asking", server.url)
        session = Session(platform.address("asking"), platform.key, {"roots": {"listChanged": True}})
        await session.open()
        await session.call("ask", {"times": 0})
        note = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        assert (await post(session.url, note, session.headers)).status == 202

        async def told() -> bool:
            return "notifications/roots/list_changed" in server.notified

        await until(told)
