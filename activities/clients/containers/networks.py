"""Networks: one for each environment, made with the first replica in it and removed after the last."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from docker import DockerClient
from docker.errors import APIError

from activities.clients.containers.spec import INTERNAL, SWARM
from activities.drivers import ReplicaFault
from mcp_platform.names import INSTANCE_LABEL

_APART: Final = {"com.docker.network.bridge.enable_icc": "false"}
"""Replicas are called by the gateway, which checks who calls, and not by each other."""


def ensure_network(
    client: DockerClient, name: str, instance: str, most: int, *, overlay: bool = False
) -> str:
    """Give the id of the network of this name; there is one afterwards.

    Its name ends in `_internal` where there is to be no way out.

    Raises:
        ReplicaFault: There are networks for so many environments already.
    """
    if first := _oldest(client, name, instance):
        return first
    _check_room(client, name, instance, most)
    created = client.api.create_network(
        name,
        driver="overlay" if overlay else "bridge",
        options=None if overlay else _APART,
        internal=name.endswith(INTERNAL),
        labels={INSTANCE_LABEL: instance},
        check_duplicate=True,
    )
    own = str(created["Id"])
    # Engines allow two of one name, and another worker may have made one at this moment.
    first = _oldest(client, name, instance) or own
    if first != own:
        drop_networks(client, [own])
    return first


def _check_room(client: DockerClient, name: str, instance: str, most: int) -> None:
    """Keep an engine's address pools, which are the same for all, from being used up."""
    found = client.api.networks(filters={"label": f"{INSTANCE_LABEL}={instance}"})
    environments = {_plain(one["Name"]) for one in found}
    if _plain(name) not in environments and len(environments) >= most:
        raise ReplicaFault(
            f"replicas run in {len(environments)} environments already, and no more than {most} are allowed;"
            " deploy to one of those, stop what runs in one, or have an operator raise"
            " MCP_PLATFORM_DOCKER__MOST_ENVIRONMENTS"
        )


def _plain(name: str) -> str:
    return name.removesuffix(INTERNAL).removesuffix(SWARM)


def _oldest(client: DockerClient, name: str, instance: str) -> str | None:
    found = client.api.networks(names=[name], filters={"label": f"{INSTANCE_LABEL}={instance}"})
    exact = sorted((one["Created"], one["Id"]) for one in found if one["Name"] == name)
    return str(exact[0][1]) if exact else None


def drop_networks(client: DockerClient, ids: Iterable[str]) -> None:
    """Remove networks unless a replica is still in them."""
    for network in ids:
        with suppress(APIError):
            client.api.remove_network(network)


def drop_unused_networks(client: DockerClient, instance: str) -> None:
    """Remove this platform's networks that no replica is in, but for those that were made just now."""
    with suppress(APIError):
        client.api.prune_networks({"label": [f"{INSTANCE_LABEL}={instance}"], "until": ["1m"]})
