"""Containers: what only the Docker driver promises."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from docker.models.containers import Container

from activities.drivers import DriverUnavailable, ReplicaFault
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.contracts.resources import Resources
from tests.drivers.rigs import NOTICED, DockerRig, answered, logged, spec_of, tiny, watching, written
from tests.services.docker_images import for_another_processor
from tests.waiting import PATIENCE, eventually


@pytest.fixture
def stopped(docker: DockerRig) -> Iterator[None]:
    """Start the engine again, whatever became of it."""
    yield
    docker.engine.ensure_started()


@pytest.fixture
def outside(docker: DockerRig) -> Iterator[str]:
    """Give the address of another machine, as it were, which listens on port 9000."""
    with docker.engine.machine_outside("9000") as address:
        yield address


async def test_a_killed_container_is_noticed_at_once_by_all_who_watch(docker: DockerRig) -> None:
    specs = [spec_of(tiny(), docker.image) for _ in range(3)]
    async with docker.driver() as driver:
        replicas = [await driver.ensure_running(spec) for spec in specs]
        async with watching(replicas[0]) as first, watching(replicas[0]) as second, watching(replicas[1]):
            await answered(replicas[0])
            await docker.kill(replicas[0])
            async with asyncio.timeout(NOTICED):
                assert await first == await second == "the container exited with status 137 (SIGKILL)"
        for spec in specs:
            await driver.ensure_absent(spec.replica_id)
        assert await docker.left() == []


async def test_a_container_that_needs_more_memory_than_it_has_says_so(docker: DockerRig) -> None:
    hungry = tiny("hungry = [bytearray(1_000_000) for _ in range(200)]")
    spec = spec_of(hungry, docker.image, resources=Resources(memory="64Mi"))
    async with docker.driver() as driver:
        try:
            reason = await (await driver.ensure_running(spec)).exited()
        except ReplicaFault as fault:
            reason = str(fault)
        assert reason == "it ran out of memory (limit 64.0 MiB)"
        await driver.ensure_absent(spec.replica_id)


@pytest.mark.usefixtures("stopped")
async def test_an_engine_that_is_away_is_no_dead_replica_and_is_named(docker: DockerRig) -> None:
    spec = spec_of(tiny(), docker.image)
    async with docker.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        async with watching(running) as watch:
            docker.engine.kill()
            asks: list[Callable[[], Awaitable[Any]]] = [
                driver.check,
                lambda: driver.find(spec),
                lambda: driver.ensure_running(spec),
            ]
            for ask in asks:
                with pytest.raises(DriverUnavailable, match=docker.engine.host):
                    await ask()
            with pytest.raises(DriverUnavailable):
                await driver.ensure_absent(spec.replica_id)
            assert await running.usage() is None
            assert not watch.done()
            docker.engine.start()
            async with asyncio.timeout(PATIENCE):
                # An engine that finds containers of its dead predecessor ends them.
                assert "exited" in await watch
        await answered(await driver.ensure_running(spec))
        await driver.ensure_absent(spec.replica_id)
        assert await docker.left() == []


@pytest.mark.usefixtures("stopped")
async def test_after_a_restart_of_the_engine_each_replica_is_told_as_ended(docker: DockerRig) -> None:
    specs = [spec_of(tiny(), docker.image) for _ in range(2)]
    async with docker.driver() as driver:
        first, second = [await driver.ensure_running(spec) for spec in specs]
        async with watching(first) as one, watching(second) as two:
            await answered(first)
            docker.engine.restart()
            async with asyncio.timeout(PATIENCE):
                assert await one
                assert await two
        for spec in specs:
            await driver.ensure_absent(spec.replica_id)
        assert await docker.left() == []


async def test_without_egress_there_is_no_way_out_and_no_published_port(
    docker: DockerRig, outside: str
) -> None:
    open_spec, closed_spec = spec_of(tiny(), docker.image), spec_of(tiny(), docker.image, egress=False)
    ask = f"import socket; socket.create_connection(({outside!r}, 9000), 2); print('came out')"
    async with docker.driver() as driver:
        opened = await driver.ensure_running(open_spec)
        assert opened.url.startswith("http://127.0.0.1:")
        assert "came out" in await docker.inside(opened, "python3", "-c", ask)
        # Any engine that starts on this machine throws the packet filter's rules of the others away.
        for _ in range(4):
            closed = await driver.ensure_running(closed_spec)
            shown = (await docker.inspected(closed))["NetworkSettings"]
            said = await docker.inside(closed, "python3", "-c", ask)
            await driver.ensure_absent(closed_spec.replica_id)
            if "timed out" in said:
                break
        assert "timed out" in said
        assert not any(shown["Ports"].values())
        address = next(iter(shown["Networks"].values()))["IPAddress"]
        assert closed.url == f"http://{address}:8000/mcp"
        await driver.ensure_absent(open_spec.replica_id)
        assert await docker.left() == []


async def test_environments_have_networks_of_their_own(docker: DockerRig) -> None:
    specs = [spec_of(tiny(), docker.image, environment=name) for name in ("staging", "production")]
    async with docker.driver() as driver:
        replicas = [await driver.ensure_running(spec) for spec in specs]
        networks = [set((await docker.inspected(one))["NetworkSettings"]["Networks"]) for one in replicas]
        own = f"mcp-platform-{docker.instance}"
        assert networks == [{f"{own}-staging"}, {f"{own}-production"}]
        await driver.ensure_absent(specs[0].replica_id)
        assert f"{own}-staging" not in await docker.left()
        assert f"{own}-production" in await docker.left()
        await driver.ensure_absent(specs[1].replica_id)


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        (Resources(cpu="1000"), "it asks for 1000 cores of CPU; the engine's machine has"),
        (Resources(memory="9000Gi"), "it asks for 9000.0 GiB of memory; the engine's machine has"),
    ],
)
async def test_more_than_the_machine_has_is_refused_with_both_figures(
    docker: DockerRig, resources: Resources, says: str
) -> None:
    await _is_refused(docker, spec_of(tiny(), docker.image, resources=resources), says)


async def test_an_image_that_cannot_be_had_is_refused(docker: DockerRig) -> None:
    unknown = ServerConfig(image="127.0.0.1:9/nobody/nothing:1")
    await _is_refused(docker, spec_of(unknown), "the image 127.0.0.1:9/nobody/nothing:1 cannot be pulled")
    await _is_refused(docker, spec_of(ServerConfig(image="No Name")), "'No Name' is no name of an image")
    await _is_refused(docker, spec_of(tiny()), "no image was built for server 'tiny'")


async def test_an_image_for_another_processor_is_refused(docker: DockerRig) -> None:
    image = await asyncio.to_thread(for_another_processor, docker.engine.client)
    await _is_refused(docker, spec_of(ServerConfig(image=image)), f"the image {image} is for ")


async def _is_refused(docker: DockerRig, spec: Any, says: str) -> None:
    async with docker.driver() as driver:
        with pytest.raises(ReplicaFault) as caught:
            await driver.ensure_running(spec)
        assert says in str(caught.value)
        assert await docker.left() == []


async def test_a_port_that_nothing_listens_on_is_told_from_a_server_that_hangs(docker: DockerRig) -> None:
    waits, listens = (
        "import time; time.sleep(99)",
        ("import socket, time; s = socket.create_server(('0.0.0.0', 9000)); time.sleep(99)"),
    )
    told = []
    async with docker.driver() as driver:
        for code in (waits, listens):
            assert docker.image
            image = await docker.image_that_runs("python3", "-c", code)
            spec = spec_of(ServerConfig(image=image, port=9000, path="/other"))
            running = await driver.ensure_running(spec)
            assert running.url.endswith("/other")
            if code == listens:
                await eventually(lambda: running.silence(), lambda said: said is None)  # noqa: B023
            told.append(await running.silence())
            await driver.ensure_absent(spec.replica_id)
    assert told == ["nothing listens on port 9000 in the container", None]


async def test_who_watches_just_as_the_log_is_let_go_follows_it_all_the_same(docker: DockerRig) -> None:
    spec = spec_of(tiny(), docker.image)
    async with docker.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        running.log.hold()
        await docker.say(running, "first")
        await logged(spec, "first")
        running.log.release()
        running.log._stop_unwatched()  # as happens two seconds later
        running.log.hold()
        await docker.say(running, "last")
        await logged(spec, "last")
        running.log.release()
        await driver.ensure_absent(spec.replica_id)


async def test_two_workers_that_start_one_replica_at_once_make_one(docker: DockerRig) -> None:
    spec = spec_of(tiny(), docker.image)
    async with docker.driver() as one, docker.driver() as two:
        replicas = await asyncio.gather(one.ensure_running(spec), two.ensure_running(spec))
        assert replicas[0].container == replicas[1].container
        await answered(replicas[1])
        await one.ensure_absent(spec.replica_id)
        assert await docker.left() == []


async def test_a_container_that_another_worker_has_made_but_not_yet_started_is_the_replica(
    docker: DockerRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny(), docker.image)
    made, go_on, start = threading.Event(), threading.Event(), Container.start

    def hesitate(container: Container) -> None:
        made.set()
        go_on.wait(PATIENCE)
        start(container)

    monkeypatch.setattr(Container, "start", hesitate)
    async with docker.driver() as one, docker.driver() as two:
        first = asyncio.create_task(one.ensure_running(spec))
        assert await asyncio.to_thread(made.wait, PATIENCE)
        second = await two.ensure_running(spec)
        await answered(second)
        go_on.set()
        assert (await first).container == second.container
        await two.ensure_absent(spec.replica_id)
        assert await docker.left() == []


async def test_the_log_follows_only_while_somebody_watches_and_nothing_is_lost_between(
    docker: DockerRig,
) -> None:
    spec = spec_of(tiny(), docker.image)
    async with docker.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        async with watching(running):
            await docker.say(running, "first")
            await logged(spec, "first")
        await docker.say(running, "between")
        async with watching(running):
            await docker.say(running, "last")
            await logged(spec, "last")
        assert written(spec).texts == ["first", "between", "last"]
        await driver.ensure_absent(spec.replica_id)
