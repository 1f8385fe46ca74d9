"""How many replicas a load needs."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest

from activities.autoscaling import DOWN_WINDOW, UP_WINDOW, Sight, decide, see
from mcp_platform.contracts.deployments import Autoscaling
from mcp_platform.contracts.loads import DeploymentLoad, LoadReport, ObserveOrder

DEPLOYMENT = uuid4()
BY_CALLS = Autoscaling(min=1, max=10, calls_in_flight=4)
BY_LATENCY = Autoscaling(min=1, max=10, latency_ms=100)
LONG = DOWN_WINDOW + 5


def order(scaling: Autoscaling, replicas: int, cool_down_left: float = 0.0) -> ObserveOrder:
    """Make the order for a deployment with so many replicas."""
    return ObserveOrder(
        deployment_id=DEPLOYMENT, replicas=replicas, autoscaling=scaling, cool_down_left=cool_down_left
    )


def steady(seconds: float, sight: Callable[[float], Sight]) -> list[Sight]:
    """See the same each second."""
    return [sight(float(at)) for at in range(int(seconds) + 1)]


def flying(in_flight: int) -> Callable[[float], Sight]:
    """See so many calls in flight."""
    return lambda at: Sight(at, in_flight=in_flight)


def taking(milliseconds: float) -> Callable[[float], Sight]:
    """See calls that take so long."""
    return lambda at: Sight(at, in_flight=1, calls=10, latency_ms=milliseconds)


def wished(scaling: Autoscaling, replicas: int, sight: Callable[[float], Sight]) -> int:
    """Give the number of replicas that a long and steady load leads to."""
    decision = decide(order(scaling, replicas), steady(LONG, sight), LONG)
    return decision.replicas if decision else replicas


@pytest.mark.parametrize(
    ("replicas", "in_flight", "expected"),
    [
        (1, 5, 2),
        (1, 9, 3),
        (2, 16, 4),
        (2, 400, 10),
        (4, 5, 2),
        (4, 0, 1),
        (3, 12, 3),
        (2, 8, 2),
    ],
)
def test_there_are_as_many_replicas_as_the_calls_in_flight_need(
    replicas: int, in_flight: int, expected: int
) -> None:
    assert wished(BY_CALLS, replicas, flying(in_flight)) == expected


@pytest.mark.parametrize(
    ("replicas", "latency", "expected"),
    [(2, 150, 3), (2, 210, 5), (3, 5000, 10), (4, 50, 2), (4, 1, 1), (2, 100, 2)],
)
def test_there_are_as_many_replicas_as_the_latency_needs(
    replicas: int, latency: float, expected: int
) -> None:
    assert wished(BY_LATENCY, replicas, taking(latency)) == expected


@pytest.mark.parametrize("share", [0.91, 1.0, 1.09])
def test_within_a_tenth_of_the_target_nothing_changes(share: float) -> None:
    assert wished(BY_LATENCY, 4, taking(100 * share)) == 4
    assert wished(Autoscaling(max=10, calls_in_flight=100), 4, flying(round(400 * share))) == 4


def test_the_greater_need_decides_where_both_are_given() -> None:
    both = Autoscaling(max=10, calls_in_flight=4, latency_ms=100)
    assert wished(both, 2, lambda at: Sight(at, in_flight=8, calls=5, latency_ms=200)) == 4
    assert wished(both, 2, lambda at: Sight(at, in_flight=24, calls=5, latency_ms=1)) == 6
    assert wished(both, 4, lambda at: Sight(at, in_flight=2, calls=5, latency_ms=99)) == 4


def test_calls_that_have_not_ended_say_nothing_of_their_latency() -> None:
    assert wished(BY_LATENCY, 4, lambda at: Sight(at, in_flight=3)) == 4
    assert wished(BY_LATENCY, 4, Sight) == 1


def test_the_number_stays_between_its_bounds_whatever_the_load() -> None:
    narrow = Autoscaling(min=2, max=3, calls_in_flight=1)
    assert wished(narrow, 2, flying(100)) == 3
    assert wished(narrow, 3, flying(0)) == 2
    # Somebody changed the bounds: no load is needed to keep to them.
    assert [decide(order(narrow, count), [], 0.0) for count in (2, 3)] == [None, None]
    outside = [decide(order(narrow, count), [], 0.0) for count in (1, 7)]
    assert [each.replicas for each in outside if each] == [2, 3]


def test_more_replicas_come_after_some_seconds_and_fewer_after_many() -> None:
    for now in range(1, int(LONG)):
        more = decide(order(BY_CALLS, 1), steady(now, flying(9)), now)
        fewer = decide(order(BY_CALLS, 3), steady(now, flying(0)), now)
        assert (more is not None) == (now >= UP_WINDOW)
        assert (fewer is not None) == (now >= DOWN_WINDOW)


def test_a_short_burst_brings_no_replica_and_a_short_lull_takes_none() -> None:
    burst = [replace(each, in_flight=12) if each.at == 30 else each for each in steady(31, flying(1))]
    assert decide(order(BY_CALLS, 1), burst, 31) is None
    lull = [replace(each, in_flight=12) if each.at == 5 else each for each in steady(LONG - 5, flying(1))]
    assert decide(order(BY_CALLS, 3), lull, LONG - 5) is None


def test_nothing_changes_during_the_cool_down() -> None:
    scaling = Autoscaling(min=2, max=10, calls_in_flight=4, idle_after=1)
    for sight in (flying(100), lambda at: Sight(at, idle=100)):
        assert decide(order(scaling, 3, LONG + 1), steady(LONG, sight), LONG) is None
        assert decide(order(scaling, 3, LONG - 1), steady(LONG, sight), LONG) is not None
    assert decide(order(scaling, 1, 10), [], 5) is None


def test_only_what_nobody_calls_for_long_enough_is_put_to_sleep() -> None:
    scaling = Autoscaling(max=1, idle_after=60)
    idle = Sight(9.5, idle=60.5)
    decision = decide(order(scaling, 1), [idle], 10)
    assert decision is not None
    assert (decision.replicas, decision.reason) == (0, "no call for 60 s")
    for awake in (
        replace(idle, idle=59.0),
        replace(idle, in_flight=1),
        replace(idle, complete=False),
        replace(idle, at=2.0),
    ):
        assert decide(order(scaling, 1), [awake], 10) is None
    assert decide(order(Autoscaling(max=1), 1), [idle], 10) is None


def test_what_nobody_saw_takes_no_replica_away() -> None:
    assert decide(order(BY_CALLS, 3), [], LONG) is None
    gap = [each for each in steady(LONG, flying(0)) if not 10 < each.at < 20]
    assert decide(order(BY_CALLS, 3), gap, LONG) is None
    partly = [replace(each, complete=each.at != 20) for each in steady(LONG, flying(0))]
    assert decide(order(BY_CALLS, 3), partly, LONG) is None
    # What was seen of the load counts all the same where there is too much of it.
    busy = [replace(each, complete=False) for each in steady(LONG, flying(40))]
    assert decide(order(BY_CALLS, 3), busy, LONG) is not None


def report(*loads: DeploymentLoad) -> LoadReport:
    """Make a gateway's report."""
    return LoadReport(gateway_id=uuid4().hex, window=5, deployments=list(loads))


def load(**values: float) -> DeploymentLoad:
    """Make a gateway's view of the deployment."""
    return DeploymentLoad.model_validate({"deployment_id": DEPLOYMENT, **values})


def test_what_several_gateways_see_is_added_up() -> None:
    other = DeploymentLoad(deployment_id=uuid4(), in_flight=50, idle=0.0)
    reports = [
        report(load(in_flight=2, waiting=1, calls=10, latency_ms=100, idle=5), other),
        report(load(in_flight=4, calls=30, latency_ms=20, idle=3)),
    ]
    assert see(reports, DEPLOYMENT, 1.0, True) == Sight(1.0, 7, 1, 40, 40.0, 3.0, True)


def test_a_gateway_that_does_not_know_the_deployment_makes_the_sight_incomplete() -> None:
    assert not see([report(load(idle=100)), report()], DEPLOYMENT, 0.0, True).complete
    assert not see([], DEPLOYMENT, 0.0, True).complete
    assert not see([report(load(idle=100))], DEPLOYMENT, 0.0, False).complete
