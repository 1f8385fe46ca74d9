"""Replicas that do far worse than their peers."""

from collections.abc import Sequence
from statistics import median
from typing import Final

from gateway.balancing.member import Member, State
from mcp_platform.contracts.balancing import Ejection

_NOTICEABLE: Final = 0.05
"""Seconds by which a replica must be slower: five times next to nothing is still nothing."""


def eject(members: Sequence[Member], rules: Ejection, now: float) -> list[Member]:
    """Leave out those that stand apart, the worst first, as far as the floor allows; gives who is new."""
    out = sum(member.state(now) not in (State.READY, State.RESTING) for member in members)
    room = min(int(rules.most * len(members)), len(members) - 1) - out
    if room <= 0:
        return []
    judged = [member for member in members if not member.openings and now >= member.ejected_until]
    for member in judged:
        member.window.turn(now)
    judged = [member for member in judged if member.window.calls >= rules.minimum_calls]
    found: list[Member] = []
    for member in sorted(judged, key=_badness, reverse=True):
        peers = [m for m in members if m is not member and m not in found and not m.openings]
        if _stands_apart(member, [m for m in peers if m.window.calls], rules):
            if len(found) < room:
                found.append(member)
        else:
            member.ejections = 0
    for member in found:
        member.ejections += 1
        member.ejected_until = now + rules.leave_out_for * member.ejections
        member.window.clear()
    return found


def _badness(member: Member) -> tuple[float, float]:
    return member.window.error_rate, member.window.latency


def _stands_apart(member: Member, peers: Sequence[Member], rules: Ejection) -> bool:
    calls = sum(peer.window.calls for peer in peers)
    if calls < rules.minimum_calls:
        return False
    if member.window.error_rate > sum(p.window.failures for p in peers) / calls + rules.error_margin:
        return True
    usual = median(peer.window.latency for peer in peers)
    latency = member.window.latency
    return latency > usual * rules.latency_factor and latency > usual + _NOTICEABLE
