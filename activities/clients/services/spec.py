"""What a replica's service is made of, and how its task and node are read: pure functions."""

from collections.abc import Sequence
from typing import Any, Final

from activities.clients.containers.spec import (
    arguments_of,
    cores_of,
    end_reason,
    environment_of,
    labels_of,
    memory_of,
    port_of,
    writable_paths,
)
from activities.drivers import ReplicaSpec
from mcp_platform.docker_settings import DockerSettings

_SECOND: Final = 1_000_000_000
OVER: Final = frozenset({"complete", "shutdown", "failed", "rejected", "remove", "orphaned"})
"""States of a task that has ended, or will never begin."""
_GIVEN_UP: Final = frozenset({"shutdown", "remove"})


def task_template(
    spec: ReplicaSpec,
    settings: DockerSettings,
    instance: str,
    image: str,
    network: str,
    stop_grace: float,
    volumes: Sequence[str] = (),
) -> dict[str, Any]:
    """Describe the task: as safe as a container, as far as services go."""
    memory = memory_of(spec, settings)
    container = {
        "Image": image,
        "Args": arguments_of(spec, stop_grace) or [],
        "Env": [f"{name}={value}" for name, value in environment_of(spec).items()],
        "Labels": labels_of(spec, instance, "swarm"),
        "User": settings.user,
        "ReadOnly": True,
        "Init": True,
        "CapabilityDrop": ["ALL"],
        # Engines before 28 do not know it, and ignore it.
        "Privileges": {"NoNewPrivileges": True},
        "Mounts": [_memory_at(path, settings.tmpfs_bytes) for path in writable_paths(volumes)],
        "Healthcheck": {"Test": ["NONE"]},
        "StopGracePeriod": round(stop_grace * _SECOND),
    }
    limits = {
        "NanoCPUs": round(cores_of(spec, settings) * 1e9),
        "MemoryBytes": memory,
        "Pids": settings.pids_limit,
    }
    return {
        "ContainerSpec": container,
        "Resources": {"Limits": limits},
        "RestartPolicy": {"Condition": "none"},
        "Networks": [{"Target": network}],
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "20m", "max-file": "3"}},
    }


def _memory_at(path: str, size: int) -> dict[str, Any]:
    return {"Type": "tmpfs", "Target": path, "TmpfsOptions": {"SizeBytes": size, "Mode": 0o1777}}


def endpoint(spec: ReplicaSpec) -> dict[str, Any]:
    """Describe its port: opened on the task's own node, at a number that the node picks."""
    port = {"Protocol": "tcp", "TargetPort": port_of(spec), "PublishMode": "host"}
    return {"Mode": "dnsrr", "Ports": [port]}


def state_of(task: dict[str, Any]) -> str:
    """Give the task's state."""
    return str(task["Status"]["State"])


def is_over(task: dict[str, Any]) -> bool:
    """Whether the task has ended, or its node is given up."""
    return state_of(task) in OVER or task["DesiredState"] in _GIVEN_UP


def published_port(task: dict[str, Any]) -> int | None:
    """Give the port that the node opened for the task."""
    ports = (task["Status"].get("PortStatus") or {}).get("Ports") or []
    return next((int(one["PublishedPort"]) for one in ports if one.get("PublishedPort")), None)


def container_of(task: dict[str, Any]) -> str | None:
    """Give the task's container, where it has one already."""
    return (task["Status"].get("ContainerStatus") or {}).get("ContainerID") or None


def why_over(task: dict[str, Any], memory: int, said: str | None, state: dict[str, Any] | None) -> str:
    """Tell why a task ended.

    Args:
        task: As the swarm describes it.
        memory: Its limit in bytes.
        said: What its runner said last.
        state: Its container's state, where that is on this engine.
    """
    status = task["Status"]
    if state_of(task) not in OVER:
        return "the swarm gave up its node"
    if state is not None and state["Status"] == "exited":
        return end_reason(state, memory, said)
    code = (status.get("ContainerStatus") or {}).get("ExitCode") or 0
    failed = end_reason({"ExitCode": code}, memory, said)
    error = str(status.get("Err") or "")
    if error.startswith("task: non-zero exit") or not error:
        return failed
    return f"the swarm could not run it: {error}"
