"""The ways to choose among replicas that are ready."""

import math
import random
from bisect import bisect
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, Protocol

from gateway.balancing.keys import key_of
from gateway.balancing.member import Member
from gateway.requests import RelayedRequest
from mcp_platform.contracts.balancing import Algorithm, HashBy

_POINTS: Final = 96
"""Places on the ring of a replica whose weight is 1."""
_MOST_POINTS: Final = 960
_BOUND: Final = 1.25
"""How many times its share of the calls in flight a replica takes before the next on the ring does."""
_FEW: Final = 8
"""Calls in flight that are not too many for any replica."""


class Chooser(Protocol):
    """Chooses one of some replicas."""

    def choose(self, ready: Sequence[Member], request: RelayedRequest, now: float) -> Member:
        """Give the one to ask; there is at least one."""
        ...


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, ready: Sequence[Member], _request: RelayedRequest, _now: float) -> Member:
        """Give the next."""
        self._turn = turn = (self._turn + 1) % len(ready)
        return ready[turn]


class WeightedRoundRobin:
    """In turn by weight, and smoothly: one that is due twice is not asked twice in a row where avoidable."""

    def choose(self, ready: Sequence[Member], _request: RelayedRequest, _now: float) -> Member:
        """Give the one to which most is due."""
        total, best = 0.0, ready[0]
        for member in ready:
            member.credit += member.weight
            total += member.weight
            if member.credit > best.credit:
                best = member
        best.credit -= total
        return best


class LeastConnections:
    """The fewest calls in flight for its weight; those that are equal take turns."""

    def __init__(self) -> None:
        self._turn = -1

    def choose(self, ready: Sequence[Member], _request: RelayedRequest, _now: float) -> Member:
        """Give the least busy."""
        count = len(ready)
        self._turn = turn = (self._turn + 1) % count
        best, least = ready[turn], math.inf
        for index in range(turn, turn + count):
            member = ready[index % count]
            load = member.active / member.weight
            if load < least:
                best, least = member, load
        return best


class LeastLatency:
    """Of two at random the one that would answer sooner (peak EWMA, power of two choices)."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance

    def choose(self, ready: Sequence[Member], _request: RelayedRequest, now: float) -> Member:
        """Give the better of two."""
        count = len(ready)
        if count == 1:
            return ready[0]
        first = int(self._chance() * count)
        second = int(self._chance() * (count - 1))
        second += second >= first
        one, other = ready[first], ready[second]
        return one if one.cost(now) <= other.cost(now) else other


class ConsistentHash:
    """The same one for the same key; when it has far more than its share, the next on the ring.

    The ring is made of all members, so that one that is left out for a moment gets its keys back after.
    """

    def __init__(self, members: Sequence[Member], hash_by: HashBy | None) -> None:
        self._hash_by = hash_by
        places = sorted((point, index) for index, member in enumerate(members) for point in _points(member))
        self._ring = [point for point, _ in places]
        self._owners = [members[index] for _, index in places]
        self._others = LeastConnections()

    def choose(self, ready: Sequence[Member], request: RelayedRequest, now: float) -> Member:
        """Give the key's own replica; a request without a key goes to the least busy."""
        key = key_of(request, self._hash_by)
        if key is None:
            return self._others.choose(ready, request, now)
        share = _BOUND * (sum(m.active for m in ready) + 1) / sum(m.weight for m in ready)
        owners, first = self._owners, None
        start = bisect(self._ring, _hash(key))
        for index in range(start, start + len(owners)):
            member = owners[index % len(owners)]
            if not member.usable:
                continue
            if member.active < max(share * member.weight, _FEW):
                return member
            first = first or member
        return first or ready[0]


def chooser(algorithm: Algorithm, members: Sequence[Member], hash_by: HashBy | None) -> Chooser:
    """Prepare an algorithm for these replicas."""
    if algorithm is Algorithm.CONSISTENT_HASH:
        return ConsistentHash(members, hash_by)
    if algorithm is Algorithm.LEAST_CONNECTIONS:
        return LeastConnections()
    if algorithm is Algorithm.LEAST_LATENCY:
        return LeastLatency()
    if algorithm is Algorithm.WEIGHTED_ROUND_ROBIN and len({member.weight for member in members}) > 1:
        return WeightedRoundRobin()
    return RoundRobin()


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest())


def _points(member: Member) -> list[int]:
    """Give a replica's places on the ring: the same in every process."""
    count = min(max(round(_POINTS * member.weight), 1), _MOST_POINTS)
    found: list[int] = []
    for number in range(math.ceil(count / 8)):
        digest = blake2b(member.replica_id.bytes + number.to_bytes(2)).digest()
        found += [int.from_bytes(digest[start : start + 8]) for start in range(0, 64, 8)]
    return found[:count]
