"""What a replica's container is made of: pure functions, the same for containers and services."""

import json
import math
import posixpath
import re
from collections.abc import Sequence
from typing import Any, Final, Literal
from uuid import UUID

from activities.drivers import ReplicaFault, ReplicaSpec
from mcp_platform.contracts.resources import cpu_cores, memory_bytes
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.names import INSTANCE_LABEL, REPLICA_LABEL

PORT: Final = 8000
"""Where the runner listens, and images that do not say otherwise."""
_PATH: Final = "/mcp"
INTERNAL: Final = "_internal"
SWARM: Final = "_swarm"
"""How names of networks end that are not plain ones: an environment's name has no such line."""
DRIVER_LABEL: Final = "mcp-platform.driver"
_DEPLOYMENT_LABEL: Final = "mcp-platform.deployment"
_SLUG_LABEL: Final = "mcp-platform.slug"
_COMMAND: Final = "MCP_RUNNER_COMMAND"
_FOLDER: Final = "MCP_RUNNER_CWD"
_START_SHARE: Final = 0.9
"""The runner gives up a little before we do, as it knows better why."""
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i386": "386", "i686": "386"}

_IMAGE_ID: Final = re.compile(r"sha\d+:.*|[0-9a-f]+", re.DOTALL)
"""What an engine may take for the id of an image, or for the beginning of one."""
_OWN_IMAGES: Final = re.compile(
    r"(?:(?:index\.)?docker\.io/(?:library/)?)?mcp-platform(?:/|-runner\b).*", re.DOTALL
)
"""Names of images that the platform builds."""

Kind = Literal["docker", "swarm"]


def image_of(spec: ReplicaSpec) -> str:
    """Give the image to run.

    Raises:
        ReplicaFault: There is none, or the server asks for what images do not have.
    """
    server = spec.server
    if server.command is not None and spec.image is None:
        raise ReplicaFault(f"no image was built for server {server.name!r}")
    if server.image is not None and server.args:
        raise ReplicaFault(
            f"server {server.name!r} is an image, which is run as it is: it takes no args; use env"
        )
    if server.image is not None:
        _check_name(server.image)
    image = spec.image if server.command is not None else server.image
    if image is None:
        raise ReplicaFault(f"server {server.name!r} has neither an image nor a command")
    return image


def _check_name(image: str) -> None:
    """Refuse an image that is named so that only what another build left here can be meant."""
    if _IMAGE_ID.fullmatch(image):
        raise ReplicaFault(
            f"{image!r} may be the id of an image; name an image by name and tag (box:1.4) or by name@digest"
        )
    if _OWN_IMAGES.fullmatch(image):
        raise ReplicaFault(
            f"the image {image} was built by this platform for another server; deploy that MCP instead"
        )


def name_of(spec: ReplicaSpec) -> str:
    """Give the name of the replica's container: the same each time, so that there is only one."""
    return f"mcp-{spec.slug[:20] or 'replica'}-{spec.replica_id}"


def labels_of(spec: ReplicaSpec, instance: str, kind: Kind) -> dict[str, str]:
    """Give the labels by which it is found again; never anything that was resolved."""
    return {
        INSTANCE_LABEL: instance,
        REPLICA_LABEL: str(spec.replica_id),
        DRIVER_LABEL: kind,
        _DEPLOYMENT_LABEL: str(spec.deployment_id or ""),
        _SLUG_LABEL: spec.slug,
    }


def own_filter(instance: str, kind: Kind, replica_id: UUID | None = None) -> list[str]:
    """Give the labels to look for: one replica's, or all replicas of this platform."""
    wanted = [f"{INSTANCE_LABEL}={instance}", f"{DRIVER_LABEL}={kind}"]
    return [*wanted, f"{REPLICA_LABEL}={replica_id}"] if replica_id else wanted


def network_of(spec: ReplicaSpec, instance: str, kind: Kind) -> str:
    """Give the name of the network that the replicas of its environment share."""
    name = f"mcp-platform-{instance}-{spec.environment}"
    if kind == "swarm":
        return f"{name}{SWARM}"
    return name if spec.egress else f"{name}{INTERNAL}"


def port_of(spec: ReplicaSpec) -> int:
    """Give the port that it listens on inside."""
    return spec.server.port or PORT if spec.server.image is not None else PORT


def path_of(spec: ReplicaSpec) -> str:
    """Give the path of its MCP endpoint."""
    return spec.server.path or _PATH if spec.server.image is not None else _PATH


def environment_of(spec: ReplicaSpec) -> dict[str, str]:
    """Give its environment, where the command line goes too: both may hold secrets."""
    server = spec.server
    given = {"HOME": "/tmp", **server.env}
    if server.command is None:
        return given
    given[_COMMAND] = json.dumps([server.command, *server.args])
    return {**given, _FOLDER: server.cwd} if server.cwd else given


def arguments_of(spec: ReplicaSpec, stop_grace: float) -> list[str] | None:
    """Give what the image's entry point is told: nothing for images of others."""
    if spec.server.command is None:
        return None
    patience = f"{spec.patience * _START_SHARE:g}"
    options = ["--host", "0.0.0.0", "--port", str(PORT)]
    return [*options, "--start-timeout", patience, "--grace", f"{stop_grace:g}"]


def cores_of(spec: ReplicaSpec, settings: DockerSettings) -> float:
    """Give how much CPU it may use, in cores."""
    return spec.resources.cores or cpu_cores(settings.default_cpu)


def memory_of(spec: ReplicaSpec, settings: DockerSettings) -> int:
    """Give how much memory it may use, in bytes."""
    return spec.resources.bytes or memory_bytes(settings.default_memory)


def check_fits(cores: float, memory: int, cpus: int, total: int) -> None:
    """Refuse what the machine does not have.

    Raises:
        ReplicaFault: It asks for more; the message says both figures.
    """
    if cores > cpus:
        raise ReplicaFault(f"it asks for {cores:g} cores of CPU; the engine's machine has {cpus}")
    if memory > total:
        raise ReplicaFault(
            f"it asks for {readable(memory)} of memory; the engine's machine has {readable(total)}"
        )


def check_architecture(image: str, made_for: str | None, machine: str) -> None:
    """Refuse an image that the machine cannot run.

    Raises:
        ReplicaFault: It was made for another processor.
    """
    own = _ARCHITECTURES.get(machine, machine)
    if made_for and made_for != own:
        raise ReplicaFault(f"the image {image} is for {made_for}; the engine's machine is {own}")


def writable_paths(volumes: Sequence[str]) -> list[str]:
    """Give where it may write, in memory: `/tmp`, and what its image declares a volume, on no disk."""
    return sorted({"/tmp", *(posixpath.normpath(path) for path in volumes)})


def container_options(
    spec: ReplicaSpec, settings: DockerSettings, instance: str, volumes: Sequence[str] = ()
) -> dict[str, Any]:
    """Give the options of its container, but for image, network and command."""
    memory = memory_of(spec, settings)
    return {
        "name": name_of(spec),
        "labels": labels_of(spec, instance, "docker"),
        "environment": environment_of(spec),
        "user": settings.user,
        "read_only": True,
        "tmpfs": {
            path: f"rw,nosuid,nodev,size={settings.tmpfs_bytes},mode=1777" for path in writable_paths(volumes)
        },
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": settings.pids_limit,
        "nano_cpus": round(cores_of(spec, settings) * 1e9),
        "mem_limit": memory,
        "memswap_limit": memory,
        "init": True,
        # We check it ourselves, and an image's own check would start a process each time.
        "healthcheck": {"test": ["NONE"]},
    }


def whole_seconds(seconds: float) -> int:
    """Round up, as the engine counts whole ones."""
    return math.ceil(seconds)


def readable(size: int) -> str:
    """Write a number of bytes for people."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def end_reason(state: dict[str, Any], memory: int, said: str | None) -> str:
    """Tell why a container ended.

    Args:
        state: As the engine describes it.
        memory: Its limit in bytes.
        said: What its runner said last.
    """
    if state.get("OOMKilled"):
        return f"it ran out of memory (limit {readable(memory)})"
    if said:
        return said
    if state.get("Error"):
        return f"the container could not run: {state['Error']}"
    status = int(state.get("ExitCode") or 0)
    killed = {137: " (SIGKILL)", 143: " (SIGTERM)"}.get(status, "")
    return f"the container exited with status {status}{killed}"
