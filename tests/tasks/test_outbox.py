"""What waits for a listener: bounded, in order, and the newest of each subject."""

import asyncio

import pytest

from api.outbox import Outbox, OutboxFull


async def taken(outbox: Outbox) -> list[str]:
    """Take everything that waits; the texts."""
    texts = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                texts.append((await outbox.next())[1])
        except TimeoutError:
            return texts


async def test_messages_come_in_the_order_in_which_their_subjects_had_news() -> None:
    outbox = Outbox(10)
    for subject in ("a", "b", "c"):
        outbox.put(subject, "news", f"{subject} 1")
    assert await taken(outbox) == ["a 1", "b 1", "c 1"]


async def test_a_slow_listener_skips_states_and_never_the_last_one() -> None:
    outbox = Outbox(10)
    for number in range(1000):
        outbox.put("a", "news", f"a {number}")
        outbox.put("b", "news", f"b {number}")
    assert await taken(outbox) == ["a 999", "b 999"]
    outbox.put("a", "news", "a 1000")
    assert await taken(outbox) == ["a 1000"]


async def test_the_kind_is_that_of_the_newest_message() -> None:
    outbox = Outbox(10)
    outbox.put("a", "news", "old")
    outbox.put("a", "error", "new")
    assert await outbox.next() == ("error", "new")


async def test_whoever_waits_is_woken() -> None:
    outbox = Outbox(10)
    waiting = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put("a", "news", "here")
    async with asyncio.timeout(1):
        assert await waiting == ("news", "here")


async def test_a_wait_that_was_given_up_loses_nothing() -> None:
    outbox = Outbox(10)
    assert await taken(outbox) == []
    outbox.put("a", "news", "here")
    assert await taken(outbox) == ["here"]


async def test_as_many_subjects_as_allowed_may_wait() -> None:
    outbox = Outbox(3)
    for number in range(3):
        outbox.put(str(number), "news", str(number))
    outbox.put("0", "news", "newer")
    assert await taken(outbox) == ["newer", "1", "2"]


async def test_one_subject_too_many_ends_the_listening_for_good() -> None:
    outbox = Outbox(3)
    for number in range(1000):
        outbox.put(str(number), "news", str(number))
    for _ in range(2):
        with pytest.raises(OutboxFull):
            await outbox.next()
