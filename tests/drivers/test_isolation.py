"""Replicas do not get at each other, at what was built for others, or at the machine's disk."""

import asyncio
from typing import Any

import pytest

from activities.clients.containers.images import check_foreign
from activities.drivers import ReplicaFault
from mcp_platform.contracts.mcps import ServerConfig
from tests.drivers.rigs import DockerRig, answered, spec_of, tiny
from tests.services.docker_images import derived

WAITS = 'CMD ["python3", "-c", "import time; time.sleep(99)"]'


async def made(rig: DockerRig, *lines: str) -> str:
    """Make an image from the tests' own, as another would."""
    assert rig.image
    return await asyncio.to_thread(derived, rig.engine.client, rig.image, lines)


async def test_an_image_that_was_built_for_a_server_is_nobody_elses(containers: DockerRig) -> None:
    image = await made(containers, "LABEL mcp-platform.build=clock")
    own = spec_of(tiny(), image)
    async with containers.driver() as driver:
        with pytest.raises(ReplicaFault, match="was built by this platform for another server; deploy that"):
            await driver.ensure_running(spec_of(ServerConfig(image=image)))
        assert await containers.left() == []
        await answered(await driver.ensure_running(own))
        await driver.ensure_absent(own.replica_id)


@pytest.mark.parametrize("label", ["mcp-platform.instance", "mcp-platform.build", "mcp-platform.stage"])
def test_each_label_of_a_build_tells_it(label: str) -> None:
    check_foreign("box:1", {"Labels": {"maintainer": "somebody"}})
    check_foreign("box:1", {"Labels": None})
    with pytest.raises(ReplicaFault, match="the image box:1 was built by this platform"):
        check_foreign("box:1", {"Labels": {label: ""}})


@pytest.mark.parametrize("egress", [True, False])
async def test_replicas_of_one_environment_do_not_reach_each_other(docker: DockerRig, egress: bool) -> None:
    specs = [spec_of(tiny(), docker.image, egress=egress) for _ in range(2)]
    async with docker.driver() as driver:
        said = ""
        # Any engine that starts on this machine throws the packet filter's rules of the others away.
        for _ in range(4):
            one, two = [await driver.ensure_running(spec) for spec in specs]
            await answered(two)
            (network,) = (await docker.inspected(two))["NetworkSettings"]["Networks"].values()
            target = (network["IPAddress"], 8000)
            ask = f"import socket; socket.create_connection({target!r}, 1); print('came in')"
            said = await docker.inside(one, "python3", "-c", ask)
            for spec in specs:
                await driver.ensure_absent(spec.replica_id)
            if "timed out" in said:
                break
        assert "timed out" in said
        assert await docker.left() == []


async def test_what_an_image_calls_a_volume_is_in_memory_and_bounded(containers: DockerRig) -> None:
    spec = spec_of(ServerConfig(image=await made(containers, "ENTRYPOINT []", "VOLUME /data", WAITS)))
    fill = (
        "f = open('/data/file', 'wb', buffering=0)\ntry:\n  [f.write(bytes(1 << 20)) for _ in range(9)]\n"
        "except OSError as error: print(error.strerror, f.tell() >> 20)"
    )
    async with containers.driver(tmpfs_bytes=4 << 20) as driver:
        running = await driver.ensure_running(spec)
        assert "No space left on device 4" in await containers.inside(running, "python3", "-c", fill)
        shown: dict[str, Any] = await containers.inspected(running)
        assert not [one for one in shown["Mounts"] if one["Type"] != "tmpfs"]
        await driver.ensure_absent(spec.replica_id)


async def test_there_are_no_more_environments_than_an_engine_has_networks_for(docker: DockerRig) -> None:
    first, closed, more = (
        spec_of(tiny(), docker.image, environment="one"),
        spec_of(tiny(), docker.image, environment="one", egress=False),
        spec_of(tiny(), docker.image, environment="two"),
    )
    async with docker.driver(most_environments=1) as driver:
        for spec in (first, closed):
            await driver.ensure_running(spec)
        with pytest.raises(ReplicaFault, match="in 1 environments already, and no more than 1 are allowed"):
            await driver.ensure_running(more)
        for spec in (first, closed):
            await driver.ensure_absent(spec.replica_id)
        await driver.ensure_running(more)
        await driver.ensure_absent(more.replica_id)
        assert await docker.left() == []
