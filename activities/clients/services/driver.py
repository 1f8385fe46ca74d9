"""Replicas as services of a Docker Swarm, each a service of one task, on the node where it is placed.

The tasks have no restart policy: the deployment's workflow decides, as for all replicas. When a node
dies its replicas are lost, and the workflow makes new services, which the swarm places on nodes that
live. The port is opened on the task's own node (host mode), as the workflow checks, drains and
replaces each replica by itself, where the routing mesh would mix them.
"""

import asyncio
import time
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import structlog
from docker import DockerClient
from docker.errors import NotFound

from activities.clients.containers.images import Images, check_foreign, volumes_of
from activities.clients.containers.networks import drop_networks, drop_unused_networks, ensure_network
from activities.clients.containers.replica import LogFollower
from activities.clients.containers.spec import (
    check_fits,
    cores_of,
    image_of,
    labels_of,
    memory_of,
    name_of,
    network_of,
    own_filter,
    path_of,
)
from activities.clients.docker_engine import DockerEngine
from activities.clients.output import Output
from activities.clients.services.replica import SwarmReplica
from activities.clients.services.spec import (
    endpoint,
    is_over,
    published_port,
    state_of,
    task_template,
)
from activities.clients.services.tasks import Task, TaskEnds, newest_tasks
from activities.drivers import DriverUnavailable, ReplicaFault, ReplicaSpec
from mcp_platform.names import REPLICA_LABEL

logger = structlog.get_logger(__name__)

_LOOKED_EVERY: Final = 0.1
_PLACED_WITHIN: Final = 3.0
"""Seconds after which a task that no node takes will most likely never be taken."""
_GONE_WITHIN: Final = 10.0
"""Seconds beyond its grace that a task may take to end."""
_ALONE: Final = "its service is gone"


class SwarmDriver:
    """Starts, finds and ends services of one platform.

    Args:
        engine: A manager of the swarm.
        instance: Which platform it is.
        stop_grace: Seconds that a task may take to end by itself.
    """

    def __init__(self, engine: DockerEngine, instance: str, stop_grace: float) -> None:
        self._engine = engine
        self._instance = instance
        self._stop_grace = stop_grace
        self._ends = TaskEnds(engine, instance)
        self._images = Images(engine)
        self._known: dict[UUID, SwarmReplica] = {}
        self._networks = Lock()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    async def check(self) -> None:
        """Return if the engine answers, and manages a swarm.

        Raises:
            DriverUnavailable: It does not.
        """
        if not (await self._engine.look()).node_id:
            host = self._engine.settings.host
            raise DriverUnavailable(f"the Docker engine at {host} is in no swarm (docker swarm init)")
        await self._engine.call(lambda client: client.api.nodes({"role": "manager"}))

    async def largest(self) -> tuple[int, int]:
        """Tell how many cores and bytes of memory one replica could have at most, on any node."""
        return await self._engine.call(_largest_node)

    async def find(self, spec: ReplicaSpec) -> SwarmReplica | None:
        """Find the replica's service, if its task runs.

        Raises:
            ReplicaFault: Its task has ended; the message says why.
        """
        service = await self._look(spec.replica_id)
        if service is None:
            return None
        task = await self._task(service)
        if task is None or is_over(task):
            raise await self._fault(spec, service, task)
        return await self._replica(spec, service, task) if published_port(task) else None

    async def ensure_running(self, spec: ReplicaSpec) -> SwarmReplica:
        """Give the replica's service: the one that runs already, or a new one.

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
                reason = spec.mask.text(str(fault))
                logger.info("dead_replica_replaced", replica_id=str(spec.replica_id), reason=reason)
            await self._remove(spec.replica_id)
            service = await self._create(spec)
            try:
                return await self._placed(spec, service)
            except ReplicaFault:
                await self._remove(spec.replica_id)
                raise

    async def ensure_absent(self, replica_id: UUID) -> None:
        """Remove the replica's service and wait until its task has ended; finding none is success."""
        async with self._alone(replica_id):
            await self._remove(replica_id)

    async def living(self) -> set[UUID]:
        """Give the replicas of which a task runs now."""
        labels = own_filter(self._instance, "swarm")

        def look(client: DockerClient) -> set[UUID]:
            replicas = {
                one["ID"]: UUID(one["Spec"]["Labels"][REPLICA_LABEL])
                for one in client.api.services({"label": labels})
            }
            tasks = client.api.tasks({"desired-state": "running"}) if replicas else []
            running = [task["ServiceID"] for task in tasks if task["Status"]["State"] == "running"]
            return {replicas[service] for service in running if service in replicas}

        return await self._engine.call(look)

    async def sweep(self, wanted: set[UUID], older_than: float) -> list[UUID]:
        """End services that belong to no wanted replica, and say which replicas they were."""
        labels = own_filter(self._instance, "swarm")
        listed = await self._engine.call(lambda client: client.api.services({"label": labels}))
        ended = set()
        for one in listed:
            replica_id = UUID(one["Spec"]["Labels"][REPLICA_LABEL])
            if replica_id not in wanted and time.time() - _created(one) >= older_than:
                ended.add(replica_id)
        for replica_id in ended:
            await self.ensure_absent(replica_id)
            logger.warning("replica_without_owner_ended", replica_id=str(replica_id))
        await self._engine.call(lambda client: drop_unused_networks(client, self._instance))
        return sorted(ended)

    async def close(self) -> None:
        """Let go of the services: they run on."""
        for replica in self._known.values():
            await replica.log.close()
        self._known.clear()
        await self._ends.close()

    def _alone(self, replica_id: UUID) -> asyncio.Lock:
        return self._locks.setdefault(replica_id, asyncio.Lock())

    async def _look(self, replica_id: UUID) -> str | None:
        """Give the id of the replica's service."""
        labels = own_filter(self._instance, "swarm", replica_id)
        found = await self._engine.call(lambda client: client.api.services({"label": labels}))
        return str(found[0]["ID"]) if found else None

    async def _task(self, service: str) -> Task | None:
        labels = own_filter(self._instance, "swarm")
        return (await self._engine.call(lambda client: newest_tasks(client, labels))).get(service)

    async def _create(self, spec: ReplicaSpec) -> str:
        image = image_of(spec)
        own = self._engine.settings
        if not spec.egress:
            raise ReplicaFault(
                "the swarm driver cannot keep a replica from opening connections to other machines and"
                " still reach it; use the docker driver, or allow egress"
            )
        check_fits(cores_of(spec, own), memory_of(spec, own), *await self.largest())
        # Nodes get images by themselves; what the manager has not, it did not build either.
        built = await self._images.configuration(image)
        if spec.server.image is not None:
            check_foreign(image, built)
        network = network_of(spec, self._instance, "swarm")

        def create(client: DockerClient) -> str:
            with self._networks:
                most = own.most_environments
                target = ensure_network(client, network, self._instance, most, overlay=True)
            created = client.api.create_service(
                task_template(spec, own, self._instance, image, target, self._stop_grace, volumes_of(built)),
                name=name_of(spec)[:63],
                labels=labels_of(spec, self._instance, "swarm"),
                mode={"Replicated": {"Replicas": 1}},
                endpoint_spec=endpoint(spec),
            )
            return str(created["ID"])

        try:
            return await self._engine.call(create)
        except DriverUnavailable:
            raise
        except ReplicaFault as fault:
            # Another worker was quicker: it is the same replica.
            found = await self._look(spec.replica_id) if "name conflicts" in str(fault) else None
            if found is None:
                raise
            return found

    async def _placed(self, spec: ReplicaSpec, service: str) -> SwarmReplica:
        """Wait until the task runs and its port is known."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            task = await self._task(service)
            if task is not None:
                if is_over(task):
                    raise await self._fault(spec, service, task)
                if state_of(task) == "running" and published_port(task):
                    return await self._replica(spec, service, task)
            waited = loop.time() - began
            told = str(task["Status"].get("Err") or "") if task else ""
            if waited > spec.patience or (told and waited > _PLACED_WITHIN):
                raise ReplicaFault(
                    f"the swarm could not place it within {waited:.0f} s: {told or 'no reason given'}"
                )
            await asyncio.sleep(_LOOKED_EVERY)

    async def _fault(self, spec: ReplicaSpec, service: str, task: Task | None) -> ReplicaFault:
        if task is None:
            return ReplicaFault(_ALONE)
        replica = await self._replica(spec, service, task)
        await replica.log.last_words()
        return ReplicaFault(await replica.reason(task), replica.stderr_tail)

    async def _replica(self, spec: ReplicaSpec, service: str, task: Task) -> SwarmReplica:
        if known := self._known_as(spec, task):
            return known
        url = f"http://{await self._address(task)}:{published_port(task) or 0}{path_of(spec)}"
        # Somebody else may have come to know it meanwhile: two would each follow its log.
        if known := self._known_as(spec, task):
            return known
        log = LogFollower(self._engine, f"/tasks/{task['ID']}", Output(spec.log, spec.mask))
        replica = SwarmReplica(
            replica_id=spec.replica_id,
            container=service,
            task_id=task["ID"],
            url=url,
            mask=spec.mask,
            memory=memory_of(spec, self._engine.settings),
            engine=self._engine,
            ends=self._ends,
            log=log,
        )
        self._known[spec.replica_id] = replica
        return replica

    def _known_as(self, spec: ReplicaSpec, task: Task) -> SwarmReplica | None:
        known = self._known.get(spec.replica_id)
        return known if known is not None and known.task_id == task["ID"] else None

    async def _address(self, task: Task) -> str:
        """Give the address of the task's node; this engine's own is reached as its other containers are."""
        node_id = task.get("NodeID")
        if not node_id or node_id == (await self._engine.capacity()).node_id:
            return self._engine.settings.reach_address
        node = await self._engine.call(lambda client: client.api.inspect_node(node_id))
        address = str(node["Status"]["Addr"])
        return f"[{address}]" if ":" in address else address

    async def _remove(self, replica_id: UUID) -> None:
        service = await self._look(replica_id)
        known = self._known.get(replica_id)
        if known:
            known.log.hold()  # its last lines go with its task
        try:
            if service is not None:
                networks = await self._engine.call(lambda client: _remove(client, service))
                await self._until_ended(service)
                await self._engine.call(lambda client: drop_networks(client, networks))
        finally:
            if known:
                known.log.release()
        if known:
            await known.log.last_words()
            await known.log.close()
            self._known.pop(replica_id, None)

    async def _until_ended(self, service: str) -> None:
        """Wait until no task of a service that was removed is left, within bounds."""
        deadline = time.monotonic() + self._stop_grace + _GONE_WITHIN
        while time.monotonic() < deadline:
            task = await self._task(service)
            if task is None or (is_over(task) and state_of(task) not in {"running", "starting", "preparing"}):
                return
            await asyncio.sleep(_LOOKED_EVERY)


def _remove(client: DockerClient, service: str) -> list[str]:
    """Remove a service; the networks that it was in."""
    try:
        template: dict[str, Any] = client.api.inspect_service(service)["Spec"]["TaskTemplate"]
        client.api.remove_service(service)
    except NotFound:
        return []
    return [one["Target"] for one in template.get("Networks") or []]


def _largest_node(client: DockerClient) -> tuple[int, int]:
    """Give the most cores and the most memory that any living node has."""
    sizes = [
        node["Description"]["Resources"]
        for node in client.api.nodes()
        if node["Status"]["State"] == "ready" and node["Spec"]["Availability"] == "active"
    ]
    if not sizes:
        raise ReplicaFault("the swarm has no node that is ready")
    return max(one["NanoCPUs"] for one in sizes) // 10**9, max(one["MemoryBytes"] for one in sizes)


def _created(service: dict[str, Any]) -> float:
    """Give when a service was made, in seconds since 1970."""
    return datetime.fromisoformat(service["CreatedAt"][:19]).replace(tzinfo=UTC).timestamp()
