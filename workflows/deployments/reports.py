"""What is true of a deployment, in one word, in a sentence, and for the web UI."""

from mcp_platform.contracts.deployments import (
    DeploymentReport,
    DeploymentState,
    Health,
    ReplicaState,
    RevisionState,
    Rollout,
    Slot,
)

LONGEST_DELAY = 60.0

_HEALTH = {
    DeploymentState.RUNNING: Health.HEALTHY,
    DeploymentState.UPDATING: Health.HEALTHY,
    DeploymentState.ROLLED_BACK: Health.HEALTHY,
    DeploymentState.DEGRADED: Health.DEGRADED,
    DeploymentState.UNHEALTHY: Health.UNHEALTHY,
    DeploymentState.FAILED: Health.UNHEALTHY,
}


def delay_after(failures: int) -> float:
    """Seconds to wait after this many failures in a row: 0, 1, 2, 4 … 60."""
    return 0.0 if failures == 0 else float(min(2.0 ** min(failures - 1, 10), LONGEST_DELAY))


def state_of(slots: list[Slot], wished: int, rollout: Rollout | None) -> DeploymentState:
    """Give the status of a deployment that is neither asleep nor being stopped."""
    healthy = count_healthy(slots)
    if healthy == wished:
        return _settled(rollout)
    trouble = any(slot.state is ReplicaState.UNHEALTHY for slot in slots)
    if healthy:
        return DeploymentState.DEGRADED if trouble else DeploymentState.STARTING
    if any(slot.ever_healthy for slot in slots):
        return DeploymentState.UNHEALTHY
    return DeploymentState.FAILED if trouble else DeploymentState.STARTING


def _settled(rollout: Rollout | None) -> DeploymentState:
    state = rollout.state if rollout else RevisionState.ACTIVE
    if state is RevisionState.PENDING:
        return DeploymentState.UPDATING
    return DeploymentState.ROLLED_BACK if state is RevisionState.FAILED else DeploymentState.RUNNING


def health_of(status: DeploymentState, healthy: int) -> Health:
    """Give the health that goes with a status."""
    if status is DeploymentState.STARTING:
        return Health.DEGRADED if healthy else Health.UNKNOWN
    return _HEALTH.get(status, Health.UNKNOWN)


def count_healthy(slots: list[Slot]) -> int:
    """Count the replicas that answer."""
    return sum(slot.state is ReplicaState.HEALTHY for slot in slots)


def reason_of_slots(slots: list[Slot]) -> str | None:
    """Give the first trouble, with what comes next, for whoever looks at the deployment."""
    for slot in sorted(slots, key=lambda slot: slot.ordinal):
        if slot.state is ReplicaState.UNHEALTHY and slot.reason:
            delay = delay_after(slot.failures)
            following = f"trying again after {delay:g} s" if delay else "trying again at once"
            return f"replica {slot.ordinal}: {slot.reason}; {following} (attempt {slot.restarts + 1})"
    return None


def reason_of_status(status: DeploymentState, slots: list[Slot], rollout: Rollout | None) -> str | None:
    """Say why the status is what it is, where that is not plain."""
    if status is DeploymentState.IDLE:
        return "scaled to zero for want of calls; the next call starts it"
    trouble = reason_of_slots(slots)
    if trouble is None and status is DeploymentState.ROLLED_BACK and rollout:
        return f"revision {rollout.revision} (version {rollout.version}) was rolled back: {rollout.reason}"
    return trouble


def in_words(report: DeploymentReport, environment: str, slots: list[Slot]) -> str:
    """Describe a deployment for Temporal's web UI, in Markdown."""
    lines = [
        f"**{report.slug}** in {environment}: **{report.status}**,"
        f" {report.healthy} of {report.replicas} replicas answer."
    ]
    if report.reason:
        lines.append(f"Reason: {report.reason}")
    if (rollout := report.rollout) is not None:
        lines.append(
            f"Last roll-out ({rollout.cause}): revision {rollout.revision}, version {rollout.version},"
            f" {rollout.state}, {rollout.replaced} of {rollout.total} places."
            + (f" {rollout.reason}" if rollout.reason else "")
        )
    lines += [
        f"- replica {slot.ordinal}, revision {slot.revision}: {slot.state}, {slot.restarts} restarts"
        + (f", {slot.reason}" if slot.reason else "")
        for slot in sorted(slots, key=lambda slot: slot.ordinal)[:20]
    ]
    return "\n".join(lines)
