"""Replicas as containers of one Docker engine.

A container outlives the worker that started it; the next worker finds it by its labels. There is no
restart policy: the deployment's workflow heals, and two healers would fight over one replica. When
the engine itself restarts, its containers end with it; each is then seen to have ended and replaced
by a new one. Under an engine with `live-restore` they run on, and are kept.
"""

import asyncio
import re
import time
from threading import Lock
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import LogConfig

from activities.clients.containers.events import Ends
from activities.clients.containers.images import Images, check_foreign, volumes_of
from activities.clients.containers.networks import drop_networks, drop_unused_networks, ensure_network
from activities.clients.containers.replica import DockerReplica, LogFollower
from activities.clients.containers.spec import (
    arguments_of,
    check_fits,
    container_options,
    cores_of,
    image_of,
    memory_of,
    network_of,
    own_filter,
    path_of,
    port_of,
    whole_seconds,
)
from activities.clients.docker_engine import DockerEngine
from activities.clients.output import Output
from activities.drivers import DriverUnavailable, ReplicaFault, ReplicaSpec
from mcp_platform.names import REPLICA_LABEL

logger = structlog.get_logger(__name__)

_ATTEMPTS: Final = 4
_PASSING: Final = re.compile(
    r"port is already allocated|address already in use|network .*(not found|already exists|is ambiguous)"
)
"""What an engine says when it or somebody else was quicker: another attempt finds another port or network."""
_PAUSE: Final = 0.1
"""Seconds, times the attempt: whoever was quicker may have to tidy up first."""
_LAST_LINES: Final = 10.0
"""Seconds that the rest of a log may take before its container is removed."""


class DockerDriver:
    """Starts, finds and ends containers of one platform.

    Args:
        engine: What runs them.
        instance: Which platform it is.
        stop_grace: Seconds that a container may take to end by itself.
    """

    def __init__(self, engine: DockerEngine, instance: str, stop_grace: float) -> None:
        self._engine = engine
        self._instance = instance
        self._stop_grace = stop_grace
        self._ends = Ends(engine, instance)
        self._images = Images(engine)
        self._known: dict[UUID, DockerReplica] = {}
        self._starting = 0
        self._networks = Lock()
        # A second attempt may begin while one that lost its heartbeat is still at work.
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def check(self) -> None:
        """Return if the engine answers.

        Raises:
            DriverUnavailable: It does not.
        """
        await self._engine.look()

    async def largest(self) -> tuple[int, int]:
        """Tell how many cores and bytes of memory one replica could have at most."""
        capacity = await self._engine.capacity()
        return capacity.cpus, capacity.memory_bytes

    async def find(self, spec: ReplicaSpec) -> DockerReplica | None:
        """Find the replica's container, if it runs.

        Raises:
            ReplicaFault: It is there and has ended; the message says why.
        """
        found = await self._look(spec.replica_id)
        if found is None:
            return None
        replica = self._replica(spec, found)
        if not found["State"]["Running"]:
            await replica.log.last_words()
            raise ReplicaFault(replica.reason(found["State"]), replica.stderr_tail)
        return replica

    async def ensure_running(self, spec: ReplicaSpec) -> DockerReplica:
        """Give the replica's container: the one that runs already, or a new one.

        Raises:
            ReplicaFault: It could not be started.
        """
        async with self._alone(spec.replica_id):
            try:
                if found := await self.find(spec):
                    return found
            except DriverUnavailable:
                raise
            except ReplicaFault as fault:
                logger.info(
                    "dead_replica_replaced",
                    replica_id=str(spec.replica_id),
                    reason=spec.mask.text(str(fault)),
                )
                await self._remove(spec.replica_id)
            image = image_of(spec)
            own = self._engine.settings
            check_fits(cores_of(spec, own), memory_of(spec, own), *await self.largest())
            built = await self._images.ensure(image)
            if spec.server.image is not None:
                check_foreign(image, built)
            return await self._start(spec, image, volumes_of(built))

    async def ensure_absent(self, replica_id: UUID) -> None:
        """Stop and remove the replica's container; finding none is success."""
        async with self._alone(replica_id):
            await self._remove(replica_id)

    async def living(self) -> set[UUID]:
        """Give the replicas whose container runs now."""
        labels = own_filter(self._instance, "docker")
        listed = await self._engine.call(lambda client: client.api.containers(filters={"label": labels}))
        return {UUID(one["Labels"][REPLICA_LABEL]) for one in listed}

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """End containers that belong to no wanted replica, and say which replicas they were."""
        labels = own_filter(self._instance, "docker")
        listed = await self._engine.call(
            lambda client: client.api.containers(all=True, filters={"label": labels})
        )
        ended = set()
        for one in listed:
            replica_id = UUID(one["Labels"][REPLICA_LABEL])
            if replica_id not in wanted and time.time() - one["Created"] >= older_than:
                ended.add(replica_id)
        for replica_id in ended:
            await self.ensure_absent(replica_id)
            logger.warning("replica_without_owner_ended", replica_id=str(replica_id))
        if not self._starting:
            await self._engine.call(lambda client: drop_unused_networks(client, self._instance))
        return sorted(ended)

    async def close(self) -> None:
        """Let go of the containers: they run on."""
        for replica in self._known.values():
            await replica.log.close()
        self._known.clear()
        await self._ends.close()

    def _alone(self, replica_id: UUID) -> asyncio.Lock:
        return self._locks.setdefault(replica_id, asyncio.Lock())

    async def _look(self, replica_id: UUID, *, start: bool = True) -> dict[str, Any] | None:
        """Give the container of a replica as the engine describes it, started if it never was.

        Whoever made it is about to start it, or died just then: either way it is no replica that has ended.
        """
        labels = own_filter(self._instance, "docker", replica_id)

        def look(client: DockerClient) -> dict[str, Any] | None:
            for one in client.api.containers(all=True, filters={"label": labels}):
                try:
                    found: dict[str, Any] = client.api.inspect_container(one["Id"])
                    if start and found["State"]["Status"] == "created":
                        client.api.start(one["Id"])
                        found = client.api.inspect_container(one["Id"])
                except NotFound:
                    continue
                return found
            return None

        return await self._engine.call(look)

    async def _start(self, spec: ReplicaSpec, image: str, volumes: list[str]) -> DockerReplica:
        self._starting += 1
        try:
            found = await self._started(spec, image, volumes)
        finally:
            self._starting -= 1
        replica = self._replica(spec, found)
        if not found["State"]["Running"]:
            await replica.log.last_words()
            fault = ReplicaFault(replica.reason(found["State"]), replica.stderr_tail)
            await self._remove(spec.replica_id)
            raise fault
        return replica

    async def _started(self, spec: ReplicaSpec, image: str, volumes: list[str]) -> dict[str, Any]:
        attempt = 1
        while True:
            try:
                return await self._engine.call(lambda client: self._create(client, spec, image, volumes))
            except DriverUnavailable:
                raise
            except ReplicaFault as fault:
                if "is already in use by container" in str(fault):
                    # Another worker was quicker: it is the same replica.
                    if found := await self._look(spec.replica_id):
                        return found
                elif attempt >= _ATTEMPTS or not _PASSING.search(str(fault)):
                    raise
            await asyncio.sleep(_PAUSE * attempt)
            attempt += 1

    def _create(
        self, client: DockerClient, spec: ReplicaSpec, image: str, volumes: list[str]
    ) -> dict[str, Any]:
        """Create and start the container; nothing is left of one that cannot be started."""
        own = self._engine.settings
        with self._networks:  # many replicas of one environment start at a time
            name = network_of(spec, self._instance, "docker")
            network = ensure_network(client, name, self._instance, own.most_environments)
        published: dict[str, Any] = {f"{port_of(spec)}/tcp": (own.publish_address, None)}
        created: Container = client.containers.create(
            image,
            arguments_of(spec, self._stop_grace),
            network=network,
            ports=published if spec.egress else {},
            # Room for what a slow reader of the log has not had yet, and an end to what it may take.
            log_config=LogConfig(type="json-file", config={"max-size": "20m", "max-file": "3"}),
            **container_options(spec, own, self._instance, volumes),
        )
        try:
            created.start()
            found: dict[str, Any] = client.api.inspect_container(str(created.id))
        except APIError:
            created.remove(force=True, v=True)
            raise
        return found

    def _replica(self, spec: ReplicaSpec, found: dict[str, Any]) -> DockerReplica:
        """Give what watches this container: the same one each time, as it follows the log."""
        container = str(found["Id"])
        known = self._known.get(spec.replica_id)
        if known is not None and known.container == container:
            return known
        for replica_id in [one for one, replica in self._known.items() if not replica.log.is_watched]:
            if len(self._known) > 1_000:
                del self._known[replica_id]
        output = Output(spec.log, spec.mask)
        replica = DockerReplica(
            replica_id=spec.replica_id,
            container=container,
            url=self._url(spec, found),
            port=port_of(spec),
            mask=spec.mask,
            memory=int(found["HostConfig"]["Memory"]),
            engine=self._engine,
            ends=self._ends,
            log=LogFollower(self._engine, f"/containers/{container}", output),
        )
        self._known[spec.replica_id] = replica
        return replica

    def _url(self, spec: ReplicaSpec, found: dict[str, Any]) -> str:
        networks = found["NetworkSettings"]
        published = (networks["Ports"] or {}).get(f"{port_of(spec)}/tcp")
        if published:
            host, port = self._engine.settings.reach_address, published[0]["HostPort"]
        else:
            # Without a way out there is no published port either, only its own address.
            addresses = [one["IPAddress"] for one in networks["Networks"].values() if one["IPAddress"]]
            host, port = next(iter(addresses), ""), str(port_of(spec))
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{path_of(spec)}"

    async def _remove(self, replica_id: UUID) -> None:
        found = await self._look(replica_id, start=False)
        known = self._known.get(replica_id)
        if found is not None:
            container = found["Id"]
            networks = [one["NetworkID"] for one in found["NetworkSettings"]["Networks"].values()]
            grace = whole_seconds(self._stop_grace)
            await self._engine.call(lambda client: _stop(client, container, grace))
            if known and known.container == container:
                await known.log.last_words(_LAST_LINES)
            await self._engine.call(lambda client: _remove(client, container))
            if not self._starting:
                await self._engine.call(lambda client: drop_networks(client, networks))
        if known:
            await known.log.close()
            self._known.pop(replica_id, None)


def _stop(client: DockerClient, container: str, grace: int) -> None:
    try:
        client.api.stop(container, timeout=grace)
    except NotFound:
        return


def _remove(client: DockerClient, container: str) -> None:
    try:
        client.api.remove_container(container, force=True, v=True)
    except APIError as error:
        # Gone, or going: somebody else removes it at this moment.
        if error.response is None or error.response.status_code not in {404, 409}:
            raise
