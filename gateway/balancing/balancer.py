"""Spreads the calls of one slug over its replicas, and leaves out those that fail."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final
from uuid import UUID

import structlog

from gateway import figures
from gateway.balancing.algorithms import Chooser, chooser
from gateway.balancing.member import Condition, Member, State
from gateway.balancing.outliers import eject
from gateway.balancing.window import Window
from gateway.requests import RelayedRequest
from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.balancing import Algorithm, Balancing

log = structlog.get_logger(__name__)

_REST: Final = 1.0
"""Seconds for which a replica that could not be reached is passed over."""
_LONGEST: Final = 60.0
"""Seconds until a breaker that opened again and again lets a call through."""
_JUDGED_EVERY: Final = 1.0
"""Seconds between two comparisons of the replicas."""


class Balancer:
    """Chooses a replica for each call, and learns how the calls end.

    Replicas that are well are kept in a list of their own, which is made anew only when the state of one
    changes or a time is over: choosing looks at nothing else. Times are given, as monotonic seconds.
    """

    def __init__(self, slug: str, rules: Balancing, default: Algorithm) -> None:
        self.slug = slug
        self.rules = rules
        self.algorithm = default
        self.members: list[Member] = []
        self.recheck_at = -math.inf
        """When the lists are to be made anew."""
        self._ready: list[Member] = []
        self._spare: list[Member] = []
        """Left out, and asked all the same when no other is there."""
        self._probes: list[Member] = []
        """Whose breaker lets one call through."""
        self._chooser: Chooser
        self._slow_after = math.inf
        self._retries = Window(rules.breaker.window)
        self._judge_at = 0.0
        self._shown: dict[State, int] = {}
        self.configure(rules, default)

    def configure(self, rules: Balancing, default: Algorithm) -> None:
        """Go by these rules from now on; what is known of the replicas stays."""
        if rules.breaker.window != self.rules.breaker.window:
            self._retries = Window(rules.breaker.window)
            for member in self.members:
                member.window = Window(rules.breaker.window)
        for member in self.members:
            member.openings = member.openings if rules.breaker.enabled else 0
            member.ejected_until = member.ejected_until if rules.ejection.enabled else 0.0
        self.rules = rules
        self.algorithm = rules.algorithm or default
        self._slow_after = rules.breaker.slow_after or math.inf
        self._prepare()

    def put(self, upstreams: Sequence[Upstream], weights: Mapping[UUID, float]) -> None:
        """Take over which replicas there are; those that stay keep their state."""
        known = {member.upstream: member for member in self.members}
        span = self.rules.breaker.window
        members = [known.get(upstream) or Member(upstream, 1.0, span) for upstream in upstreams]
        for member in members:
            member.weight = weights.get(member.replica_id, 1.0)
        self.members = members
        self._prepare()

    def pick(self, request: RelayedRequest, now: float, prefer: UUID | None = None) -> Member | None:
        """Choose a replica for a request; None when all are left out because their calls failed.

        `prefer` names the one that holds the session's state: another is chosen only when that is not well.
        """
        if now >= self.recheck_at:
            self._sort(now)
        if prefer is not None:
            for member in self.members:
                if member.replica_id == prefer and not member.openings and now >= member.rests_until:
                    return member
        if self._probes:
            return self._probe(self._probes.pop(), now)
        ready = self._ready or self._spare
        if len(ready) > 1:
            return self._chooser.choose(ready, request, now)
        return ready[0] if ready else None

    def other(self, tried: Collection[Member], now: float) -> Member | None:
        """Choose one that is not among these: the least busy."""
        if now >= self.recheck_at:
            self._sort(now)
        for group in (self._ready, self._probes, self._spare):
            left = [member for member in group if member not in tried]
            if left:
                member = min(left, key=lambda each: each.active / each.weight)
                if group is self._probes:
                    group.remove(member)
                    return self._probe(member, now)
                return member
        return None

    def answered(self, member: Member, started: float, now: float) -> bool:
        """Note an answer, of whatever kind; True if the replica could not be reached before."""
        seconds = now - started
        slow = seconds > self._slow_after
        member.window.note(now, slow, seconds)
        member.observe(now, seconds)
        if now >= self._judge_at:
            self._judge(now)
        if slow:
            self._judge_breaker(member, started, now)
        elif member.troubled:
            return self._recover(member, started, now)
        return False

    def failed(self, member: Member, started: float, now: float, *, lost: bool, counts: bool = True) -> None:
        """Note that a call failed.

        It was `lost` if the replica could not be reached, or went in the middle. It `counts` for the
        breaker, unless nobody is to blame, or it failed at once, unsent, and so cost nobody anything.
        """
        if lost:
            member.rests_until = now + _REST
            member.troubled = True
            self.recheck_at = now
        if not counts:
            return
        member.window.note(now, True, now - started)
        member.observe_failure(now, now - started)
        self._judge_breaker(member, started, now)
        if now >= self._judge_at:
            self._judge(now)

    def abandoned(self, member: Member, started: float, now: float) -> None:
        """Note that the caller left: no evidence, unless it had waited too long already."""
        if now - started > self._slow_after:
            self.failed(member, started, now, lost=False)
        else:
            self.released(member, started, now)

    def released(self, member: Member, started: float, now: float) -> None:
        """Note that a request ended, and showed nothing of how the replica is."""
        if member.openings and started >= member.opened_at:
            member.open_until = self.recheck_at = now  # the next call is the one that shows

    def may_retry(self, now: float) -> bool:
        """Take one retry from the budget, if there is any left."""
        rules = self.rules.retries
        self._retries.turn(now)
        attempts = 0
        for member in self.members:
            member.window.turn(now)
            attempts += member.window.calls
        calls = max(attempts - self._retries.calls, 0)
        granted = rules.share * calls + rules.per_second * self.rules.breaker.window
        if self._retries.calls + 1 > granted:
            figures.RETRIES.labels(self.slug, "refused").inc()
            return False
        self._retries.note(now)
        figures.RETRIES.labels(self.slug, "sent").inc()
        return True

    def opens_in(self, now: float) -> float:
        """Seconds until a call is let through again, where all replicas are left out."""
        return max(min((m.open_until for m in self.members if m.openings), default=now) - now, 0.0)

    def look(self, now: float) -> None:
        """See whose time is over, though nobody calls."""
        if now >= self.recheck_at:
            self._sort(now)

    def conditions(self, now: float) -> list[Condition]:
        """Tell how each replica fares."""
        return [member.condition(now) for member in self.members]

    def close(self) -> None:
        """Take its figures back."""
        for state in self._shown:
            figures.REPLICAS.remove(self.slug, state)
        self._shown = {}

    def _prepare(self) -> None:
        self._chooser = chooser(self.algorithm, self.members, self.rules.hash_by)
        self.recheck_at = -math.inf

    def _sort(self, now: float) -> None:
        """Make the lists anew."""
        self._ready, self._spare, self._probes = [], [], []
        self.recheck_at = math.inf
        counts: dict[State, int] = {}
        for member in self.members:
            state = member.state(now)
            counts[state] = counts.get(state, 0) + 1
            member.usable = state is State.READY
            if state is State.READY:
                self._ready.append(member)
                continue
            if state is State.HALF_OPEN:
                self._probes.append(member)
                continue
            if state is State.OPEN:
                self.recheck_at = min(self.recheck_at, member.open_until)
                continue
            self._spare.append(member)
            self.recheck_at = min(self.recheck_at, max(member.ejected_until, member.rests_until))
        if not self._ready:
            for member in self._spare:
                member.usable = True
        self._show(counts)

    def _show(self, counts: dict[State, int]) -> None:
        if counts == self._shown:
            return
        for state in self._shown.keys() | counts.keys():
            figures.REPLICAS.labels(self.slug, state).set(counts.get(state, 0))
        self._shown = dict.fromkeys(self._shown, 0) | counts

    def _probe(self, member: Member, now: float) -> Member:
        """Let one call through; should it not come back, another one after the same time."""
        member.open_until = now + self._pause(member)
        self.recheck_at = min(self.recheck_at, member.open_until)
        return member

    def _pause(self, member: Member) -> float:
        first = self.rules.breaker.open_for
        return float(min(first * 2 ** (member.openings - 1), max(first, _LONGEST)))

    def _judge_breaker(self, member: Member, started: float, now: float) -> None:
        rules, window = self.rules.breaker, member.window
        if not rules.enabled:
            return
        if member.openings:
            if started < member.opened_at:
                return  # it began before the breaker opened: nothing new
        elif window.calls < rules.minimum_calls or window.error_rate < rules.error_rate:
            return
        member.openings += 1
        member.opened_at = now
        member.open_until = now + self._pause(member)
        member.troubled = True
        member.window.clear()
        self.recheck_at = now
        figures.BREAKER_OPENINGS.labels(self.slug).inc()
        log.warning(
            "breaker_opened", slug=self.slug, replica_id=str(member.replica_id), times=member.openings
        )

    def _recover(self, member: Member, started: float, now: float) -> bool:
        """Take a good answer of a replica that was left out; True if it is reached again."""
        if member.openings:
            if started < member.opened_at:
                return False
            member.openings = 0
            log.info("breaker_closed", slug=self.slug, replica_id=str(member.replica_id))
        member.rests_until = 0.0
        member.troubled = False
        self.recheck_at = now
        return True

    def _judge(self, now: float) -> None:
        self._judge_at = now + _JUDGED_EVERY
        rules = self.rules.ejection
        if not rules.enabled or len(self.members) < 2:
            return
        for member in eject(self.members, rules, now):
            self.recheck_at = now
            figures.EJECTIONS.labels(self.slug).inc()
            log.warning(
                "replica_ejected", slug=self.slug, replica_id=str(member.replica_id), times=member.ejections
            )
