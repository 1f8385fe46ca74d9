"""How calls are spread: each algorithm by counting, breakers and ejections by a clock of our own."""

import random
from collections import Counter
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from gateway.balancing.algorithms import LeastLatency
from gateway.balancing.balancer import Balancer
from gateway.balancing.member import Member, State
from gateway.balancing.window import Window
from gateway.requests import RelayedRequest
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.balancing import Algorithm, Balancing, Breaker, Ejection, HashBy, RetryBudget
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.wire import Era

NOW = 1_000_000.0


class Replica:
    """As much of an upstream as a balancer looks at."""

    def __init__(self, replica_id: UUID) -> None:
        self.address = UpstreamAddress(replica_id=replica_id, url="http://x", driver=Driver.PROCESS)


def replicas(count: int) -> list[Upstream]:
    """Make upstreams whose ids are the same in every run."""
    source = random.Random(7)
    return [cast(Upstream, Replica(UUID(int=source.getrandbits(128)))) for _ in range(count)]


@pytest.fixture
def slugs() -> str:
    return f"s-{uuid4().hex}"


def balancer(
    slug: str, count: int = 3, algorithm: Algorithm = Algorithm.ROUND_ROBIN, **rules: Any
) -> Balancer:
    made = Balancer(slug, Balancing(**rules), algorithm)
    made.put(replicas(count), {})
    return made


def weigh(made: Balancer, *weights: float) -> None:
    ids = [member.replica_id for member in made.members]
    made.put([member.upstream for member in made.members], dict(zip(ids, weights, strict=True)))


def request(headers: dict[str, str] | None = None, **arguments: Any) -> RelayedRequest:
    params = {"name": "act", "arguments": arguments}
    return RelayedRequest("s", "tools/call", params, Era.MODERN, 60.0, client_headers=headers)


def pick(made: Balancer, now: float = NOW, asked: RelayedRequest | None = None) -> int:
    """Choose, and tell which place it was; -1: none."""
    member = made.pick(asked or request(), now)
    return made.members.index(member) if member is not None else -1


def fail(made: Balancer, place: int, times: int, now: float = NOW, *, lost: bool = False) -> None:
    for _ in range(times):
        made.failed(made.members[place], now, now, lost=lost)


def answer(made: Balancer, place: int, times: int = 1, now: float = NOW, seconds: float = 0.01) -> None:
    for _ in range(times):
        made.answered(made.members[place], now - seconds, now)


def test_one_after_the_other_gives_each_the_same(slugs: str) -> None:
    made = balancer(slugs)
    assert [pick(made) for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_weights_are_held_exactly_and_smoothly(slugs: str) -> None:
    made = balancer(slugs, 3, Algorithm.WEIGHTED_ROUND_ROBIN)
    weigh(made, 5, 1, 1)
    turns = [pick(made) for _ in range(70)]
    assert Counter(turns) == {0: 50, 1: 10, 2: 10}
    assert turns[:7] == [0, 0, 1, 0, 2, 0, 0]


def test_equal_weights_need_no_reckoning(slugs: str) -> None:
    made = balancer(slugs, 3, Algorithm.WEIGHTED_ROUND_ROBIN)
    assert [pick(made) for _ in range(6)] == [0, 1, 2, 0, 1, 2]


def test_the_least_busy_for_its_weight_is_next(slugs: str) -> None:
    made = balancer(slugs, 3, Algorithm.LEAST_CONNECTIONS)
    weigh(made, 1, 1, 4)
    for member, active in zip(made.members, (2, 1, 3), strict=True):
        member.active = active
    assert pick(made) == 2
    made.members[2].active = 5
    assert pick(made) == 1
    for member in made.members:
        member.active = 0
    assert Counter(pick(made) for _ in range(30)) == {0: 10, 1: 10, 2: 10}


def test_the_quicker_replica_gets_more_and_the_slow_one_is_looked_at_again(slugs: str) -> None:
    made = balancer(slugs, 2, Algorithm.LEAST_LATENCY)
    answer(made, 0, seconds=0.010)
    answer(made, 1, seconds=0.300)
    assert {pick(made) for _ in range(20)} == {0}
    made.members[0].active = 40  # the quick one is loaded: the slow one would answer sooner
    assert pick(made) == 1
    made.members[0].active = 0
    later = NOW + 30
    answer(made, 0, now=later, seconds=0.010)
    assert pick(made, later) == 1, "what was measured long ago must not count for ever"


def test_of_two_at_random_the_better_is_taken_and_the_worst_never(slugs: str) -> None:
    made = balancer(slugs, 4)
    chooser = LeastLatency(random.Random(3).random)
    for place, seconds in enumerate((0.01, 0.02, 0.03, 0.5)):
        answer(made, place, seconds=seconds)
    counts = Counter(chooser.choose(made.members, request(), NOW).replica_id for _ in range(1200))
    first, second, third, worst = (counts[member.replica_id] for member in made.members)
    assert first > second > third > worst == 0


def test_a_replica_nobody_has_measured_gets_one_call_to_begin_with(slugs: str) -> None:
    made = balancer(slugs, 2, Algorithm.LEAST_LATENCY)
    answer(made, 0, seconds=0.01)
    assert pick(made) == 1
    made.members[1].active = 1
    assert pick(made) == 0


def test_answering_wrongly_at_once_is_not_quick(slugs: str) -> None:
    made = balancer(slugs, 2, Algorithm.LEAST_LATENCY)
    answer(made, 0, seconds=0.02)
    answer(made, 1, seconds=0.02)
    fail(made, 1, 1)
    assert {pick(made) for _ in range(10)} == {0}


def by_argument(slug: str, count: int = 5) -> Balancer:
    hashed = HashBy(argument="user.id")
    return balancer(slug, count, algorithm=Algorithm.CONSISTENT_HASH, hash_by=hashed)


def test_the_same_argument_leads_to_the_same_replica_in_every_process(slugs: str) -> None:
    one, other = by_argument(slugs), by_argument(slugs)
    for number in range(50):
        asked = request(user={"id": number})
        assert pick(one, asked=asked) == pick(one, asked=asked) == pick(other, asked=asked)
    counts = Counter(pick(one, asked=request(user={"id": n})) for n in range(2000))
    assert set(counts) == set(range(5))
    assert max(counts.values()) < 2 * min(counts.values())


def test_a_header_decides_and_a_request_without_it_goes_anywhere(slugs: str) -> None:
    made = balancer(slugs, 3, algorithm=Algorithm.CONSISTENT_HASH, hash_by=HashBy(header="X-Tenant"))
    assert len({pick(made, asked=request({"x-tenant": "a"})) for _ in range(9)}) == 1
    assert len({pick(made, asked=request()) for _ in range(9)}) == 3


def test_a_replica_that_goes_takes_only_its_own_keys_along(slugs: str) -> None:
    made = by_argument(slugs)
    keys = [request(user={"id": number}) for number in range(300)]
    before = [made.members[pick(made, asked=key)].replica_id for key in keys]
    gone = made.members[2].replica_id
    made.put([member.upstream for member in made.members if member.replica_id != gone], {})
    after = [made.members[pick(made, asked=key)].replica_id for key in keys]
    assert all(new == old for old, new in zip(before, after, strict=True) if old != gone)
    assert gone not in after


def test_one_popular_key_does_not_drown_its_replica(slugs: str) -> None:
    made = by_argument(slugs, 4)
    popular = request(user={"id": "everybody"})
    for _ in range(100):
        member = made.pick(popular, NOW)
        assert member is not None
        member.active += 1
    assert max(member.active for member in made.members) <= 1.25 * 101 / 4 + 1


def test_consistent_hash_needs_something_to_go_by() -> None:
    with pytest.raises(ValidationError, match="CONSISTENT_HASH needs hash_by"):
        Balancing(algorithm=Algorithm.CONSISTENT_HASH)
    with pytest.raises(ValidationError, match="exactly one of header and argument"):
        HashBy(header="x", argument="y")
    with pytest.raises(ValidationError, match="HTTP header"):
        HashBy(header="no header")


def test_a_weight_that_changes_keeps_what_is_known_of_the_replica(slugs: str) -> None:
    made = balancer(slugs)
    fail(made, 0, 3)
    known = made.members[0]
    weigh(made, 2, 1, 1)
    assert made.members[0] is known
    assert known.window.failures == 3


def test_a_breaker_opens_when_enough_calls_have_failed(slugs: str) -> None:
    made = balancer(slugs, 2, ejection=Ejection(enabled=False))
    answer(made, 0, 5)
    fail(made, 0, 4)
    assert made.members[0].state(NOW) is State.READY, "nine calls are too few to judge"
    fail(made, 0, 1)
    assert made.members[0].state(NOW) is State.OPEN
    assert {pick(made) for _ in range(10)} == {1}


def test_failures_of_long_ago_do_not_open_it(slugs: str) -> None:
    made = balancer(slugs, 2, ejection=Ejection(enabled=False))
    fail(made, 0, 9)
    fail(made, 0, 5, NOW + 30)
    assert made.members[0].state(NOW + 30) is State.READY


def test_one_call_is_let_through_and_each_time_later(slugs: str) -> None:
    made = balancer(slugs, 1, breaker=Breaker(open_for=5))
    fail(made, 0, 10)
    now = NOW
    for pause in (5, 10, 20, 40, 60, 60):
        assert pick(made, now + pause - 0.01) == -1
        now += pause
        assert pick(made, now) == 0
        assert pick(made, now) == -1, "only one call shows how it is"
        fail(made, 0, 1, now)
    now += 60
    assert pick(made, now) == 0
    assert made.answered(made.members[0], now, now + 0.01)
    assert [pick(made, now + 0.02) for _ in range(3)] == [0, 0, 0]


def test_what_began_before_the_breaker_opened_neither_closes_nor_prolongs_it(slugs: str) -> None:
    made = balancer(slugs, 1)
    fail(made, 0, 10)
    member = made.members[0]
    made.answered(member, NOW - 1, NOW + 1)
    made.failed(member, NOW - 1, NOW + 1, lost=False)
    assert member.state(NOW + 1) is State.OPEN
    assert pick(made, NOW + 5) == 0


def test_a_probe_whose_caller_left_is_followed_by_another(slugs: str) -> None:
    made = balancer(slugs, 1)
    fail(made, 0, 10)
    assert pick(made, NOW + 5) == 0
    assert pick(made, NOW + 5) == -1
    made.abandoned(made.members[0], NOW + 5, NOW + 6)
    assert pick(made, NOW + 6) == 0


def test_slow_calls_open_a_breaker_that_is_told_what_slow_is(slugs: str) -> None:
    made = balancer(slugs, 2, breaker=Breaker(slow_after=0.5), ejection=Ejection(enabled=False))
    answer(made, 0, 10, seconds=0.6)
    answer(made, 1, 10, seconds=0.4)
    assert [member.state(NOW) for member in made.members] == [State.OPEN, State.READY]


def test_a_breaker_that_is_off_stays_closed(slugs: str) -> None:
    made = balancer(slugs, 1, breaker=Breaker(enabled=False))
    fail(made, 0, 100)
    assert pick(made) == 0


def test_switching_off_what_leaves_replicas_out_lets_them_in_again(slugs: str) -> None:
    made = balancer(slugs, 4, ejection=Ejection(minimum_calls=5))
    answer(made, 0, 30)
    answer(made, 1, 30)
    fail(made, 2, 10)
    answer(made, 3, 6)
    fail(made, 3, 3)
    answer(made, 0, 1, NOW + 2)
    left_out = [member.state(NOW + 2) for member in made.members][2:]
    assert left_out == [State.OPEN, State.EJECTED]
    made.configure(
        Balancing(breaker=Breaker(enabled=False), ejection=Ejection(enabled=False)), Algorithm.ROUND_ROBIN
    )
    assert {pick(made, NOW + 2) for _ in range(8)} == {0, 1, 2, 3}


def test_one_that_could_not_be_reached_is_passed_over_and_asked_when_there_is_no_other(slugs: str) -> None:
    made = balancer(slugs, 2)
    made.failed(made.members[0], NOW, NOW, lost=True, counts=False)
    assert {pick(made) for _ in range(4)} == {1}
    made.failed(made.members[1], NOW, NOW, lost=True, counts=False)
    assert {pick(made) for _ in range(4)} == {0, 1}
    assert made.answered(made.members[0], NOW, NOW + 0.1)
    assert {pick(made, NOW + 0.1) for _ in range(4)} == {0}
    assert {pick(made, NOW + 1.1) for _ in range(4)} == {0, 1}


def test_an_outlier_is_left_out_for_ever_longer_times(slugs: str) -> None:
    made = balancer(slugs, 4, breaker=Breaker(enabled=False))
    now = NOW
    for pause in (10, 20):
        for place in (0, 1, 2):
            answer(made, place, 30, now)
        answer(made, 3, 15, now)
        fail(made, 3, 15, now)
        now += 2
        answer(made, 0, 1, now)
        assert made.members[3].state(now) is State.EJECTED
        assert {pick(made, now) for _ in range(12)} == {0, 1, 2}
        now += pause
        assert made.members[3].state(now) is State.READY


def test_a_replica_much_slower_than_its_peers_is_left_out(slugs: str) -> None:
    made = balancer(slugs, 3)
    answer(made, 0, 30, seconds=0.02)
    answer(made, 1, 30, seconds=0.9)
    answer(made, 2, 30, seconds=0.03)
    answer(made, 0, 1, NOW + 2)
    assert [member.state(NOW + 2) for member in made.members] == [State.READY, State.EJECTED, State.READY]


def test_five_times_next_to_nothing_is_nothing(slugs: str) -> None:
    made = balancer(slugs, 2)
    answer(made, 0, 30, seconds=0.001)
    answer(made, 1, 30, seconds=0.02)
    answer(made, 0, 1, NOW + 2)
    assert made.members[1].state(NOW + 2) is State.READY


def test_no_more_than_a_share_is_ejected_and_never_the_last(slugs: str) -> None:
    made = balancer(slugs, 4, breaker=Breaker(enabled=False), ejection=Ejection(most=1.0, error_margin=0.01))
    answer(made, 0, 30)
    for place in (1, 2, 3):
        answer(made, place, 30 - 5 * place)
        fail(made, place, 5 * place)
    answer(made, 0, 1, NOW + 2)
    assert [member.state(NOW + 2) for member in made.members].count(State.EJECTED) == 3
    half = balancer(slugs + "h", 4, breaker=Breaker(enabled=False))
    for place in (0, 1):
        answer(half, place, 60)
    for place in (2, 3):
        fail(half, place, 30)
    answer(half, 0, 1, NOW + 2)
    assert [member.state(NOW + 2) for member in half.members].count(State.EJECTED) == 2


def test_all_equally_bad_are_nobody_s_outlier(slugs: str) -> None:
    made = balancer(slugs, 3, breaker=Breaker(enabled=False))
    for place in range(3):
        fail(made, place, 30)
    fail(made, 0, 1, NOW + 2)
    assert {member.state(NOW + 2) for member in made.members} == {State.READY}


def test_retries_are_a_share_of_the_calls_and_a_few_besides(slugs: str) -> None:
    made = balancer(slugs, 2, retries=RetryBudget(share=0.2, per_second=1.0))
    assert sum(made.may_retry(NOW) for _ in range(100)) == 10
    answer(made, 0, 100)
    assert sum(made.may_retry(NOW) for _ in range(100)) == 15, "0.2 of the 75 that were no retries"
    assert made.may_retry(NOW + 30)


def test_a_window_forgets_a_tenth_at_a_time() -> None:
    window = Window(10.0)
    for second in range(20):
        window.note(NOW + second, failed=second % 2 == 0, seconds=1.0)
    assert (window.calls, window.failures, window.seconds) == (10, 5, 10.0)
    window.turn(NOW + 24)
    assert window.calls == 5
    window.turn(NOW + 60)
    assert (window.calls, window.failures, window.seconds) == (0, 0, 0.0)


def test_a_session_stays_where_its_state_is_until_that_is_not_well(slugs: str) -> None:
    made = balancer(slugs, 3)
    home: Member = made.members[1]
    assert {made.pick(request(), NOW, home.replica_id) for _ in range(5)} == {home}
    fail(made, 1, 10)
    assert made.pick(request(), NOW, home.replica_id) is not home
    assert made.pick(request(), NOW, uuid4()) is not None
