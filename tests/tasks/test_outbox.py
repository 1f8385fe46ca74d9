"""What waits for a listener: bounded, in order, and the newest of each subject."""

import time

import pytest

from api.outbox import Outbox, OutboxFull
from mcp_platform.errors import Unauthorized


class Bell:
    """Counts how often it rang."""

    def __init__(self) -> None:
        self.rings = 0

    def ring(self) -> None:
        """Count."""
        self.rings += 1


def outbox_of(limit: int) -> Outbox:
    return Outbox(limit, Bell().ring)


def taken(outbox: Outbox) -> list[str]:
    """Take everything that waits; the texts."""
    texts = []
    while (message := outbox.take()) is not None:
        texts.append(message[1])
    return texts


def test_messages_come_in_the_order_in_which_their_subjects_had_news() -> None:
    outbox = outbox_of(10)
    for subject in ("a", "b", "c"):
        outbox.put(subject, "news", f"{subject} 1")
    assert taken(outbox) == ["a 1", "b 1", "c 1"]


def test_a_slow_listener_skips_states_and_never_the_last_one() -> None:
    outbox = outbox_of(10)
    for number in range(1000):
        outbox.put("a", "news", f"a {number}")
        outbox.put("b", "news", f"b {number}")
    assert taken(outbox) == ["a 999", "b 999"]
    outbox.put("a", "news", "a 1000")
    assert taken(outbox) == ["a 1000"]


def test_the_kind_is_that_of_the_newest_message() -> None:
    outbox = outbox_of(10)
    outbox.put("a", "news", "old")
    outbox.put("a", "error", "new")
    assert outbox.take() == ("error", "new")


def test_whoever_takes_is_woken_by_news_and_by_the_end() -> None:
    bell = Bell()
    outbox = Outbox(10, bell.ring)
    assert outbox.take() is None
    outbox.put("a", "news", "here")
    assert bell.rings == 1
    outbox.end(Unauthorized("over"))
    assert bell.rings == 2
    with pytest.raises(Unauthorized, match="over"):
        outbox.take()


def test_as_many_subjects_as_allowed_may_wait() -> None:
    outbox = outbox_of(3)
    for number in range(3):
        outbox.put(str(number), "news", str(number))
    outbox.put("0", "news", "newer")
    assert taken(outbox) == ["newer", "1", "2"]


def test_one_subject_too_many_ends_the_listening_for_good() -> None:
    outbox = outbox_of(3)
    for number in range(1000):
        outbox.put(str(number), "news", str(number))
    for _ in range(2):
        with pytest.raises(OutboxFull):
            outbox.take()


def test_the_moment_of_the_oldest_unsent_news_stays_until_it_is_taken() -> None:
    outbox = outbox_of(10)
    moments = [outbox.unsent_since]
    for text in ("a", "b", "a"):
        outbox.put(text, "news", text)
        moments.append(outbox.unsent_since)
    for _ in range(2):
        outbox.take()
        moments.append(outbox.unsent_since)
    nothing, first, same, still, later, gone = moments
    assert nothing is gone is None
    assert first == same == still
    assert first is not None
    assert later is not None
    assert first <= later <= time.time()


def test_there_is_room_until_half_of_it_is_taken() -> None:
    outbox = outbox_of(4)
    room = []
    for number in range(4):
        outbox.put(str(number), "news", "")
        room.append(outbox.has_room)
    assert room == [True, True, False, False]
