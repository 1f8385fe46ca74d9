"""What every driver promises, each against what really runs its replicas."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from activities.clients.remotes import RemoteDriver
from activities.drivers import ReplicaFault, ReplicaSpec, Stream
from mcp_platform.contracts.mcps import ServerConfig
from tests.drivers.rigs import (
    NOTICED,
    SECRET,
    DockerRig,
    Rig,
    SwarmRig,
    answered,
    logged,
    spec_of,
    tiny,
    watching,
    written,
)
from tests.waiting import eventually


async def test_a_replica_is_started_once_and_answers(rig: Rig) -> None:
    spec = spec_of(tiny(), rig.image)
    async with rig.driver() as driver:
        await driver.check()
        assert await driver.find(spec) is None
        running = await driver.ensure_running(spec)
        await answered(running)
        again = await driver.ensure_running(spec)
        assert (again.url, again.pid, again.container) == (running.url, running.pid, running.container)
        found = await driver.find(spec)
        assert found is not None
        assert found.url == running.url
        assert (running.pid is None) != (running.container is None)
        await driver.ensure_absent(spec.replica_id)
        assert await driver.find(spec) is None
        await driver.ensure_absent(spec.replica_id)
        await eventually(rig.left, lambda left: left == [])


async def test_the_end_of_a_replica_is_told_and_it_can_be_started_anew(rig: Rig) -> None:
    spec = spec_of(tiny(), rig.image)
    async with rig.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        ended = asyncio.create_task(running.exited())
        await rig.kill(running)
        async with asyncio.timeout(NOTICED):
            reason = await ended
        assert "SIGKILL" in reason
        with suppress(ReplicaFault):  # or it says why
            assert await driver.find(spec) is None
        anew = await driver.ensure_running(spec)
        await answered(anew)
        assert (anew.pid, anew.container) != (running.pid, running.container)
        await driver.ensure_absent(spec.replica_id)
        await eventually(rig.left, lambda left: left == [])


async def test_a_server_that_ends_by_itself_says_why(rig: Rig) -> None:
    server = tiny("sys.stderr.write('no such table\\n'); sys.exit(7)")
    spec = spec_of(server, rig.image)
    async with rig.driver() as driver:
        try:
            running = await driver.ensure_running(spec)
        except ReplicaFault as fault:
            reason, tail = str(fault), fault.stderr_tail
        else:
            async with asyncio.timeout(30):
                reason = await running.exited()
            tail = running.stderr_tail
        assert "the server exited with status 7" in reason
        assert "no such table" in tail
        await driver.ensure_absent(spec.replica_id)
        await eventually(rig.left, lambda left: left == [])


async def test_a_container_outlives_its_worker_and_is_taken_up_by_the_next(containers: DockerRig) -> None:
    before = [f"line {number}" for number in range(5)]
    spec = spec_of(tiny(f"print(*{before!r}, sep='\\n', file=sys.stderr, flush=True)"), containers.image)
    async with containers.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        async with watching(running):
            await logged(spec, *before)
    await containers.say(running, "while nobody listened")
    async with containers.driver() as driver:
        found = await driver.ensure_running(spec)
        assert (found.url, found.container) == (running.url, running.container)
        await answered(found)
        async with watching(found):
            await containers.say(found, "afterwards")
            kept = await logged(spec, "afterwards")
        assert kept == [*before, "while nobody listened", "afterwards"]
        await driver.ensure_absent(spec.replica_id)


async def test_every_line_arrives_without_secrets(rig: Rig) -> None:
    code = (
        "for number in range(20000): sys.stderr.write(f'line {number}\\n')\n"
        f"print('token {SECRET}!', 'x' * 40000, 'end', sep='\\n', file=sys.stderr, flush=True)"
    )
    spec = spec_of(tiny(code), rig.image)
    async with rig.driver() as driver:
        running = await driver.ensure_running(spec)
        async with watching(running):
            kept = await logged(spec, "end")
        assert kept == [*(f"line {number}" for number in range(20_000)), "token ***!", "x" * 40_000, "end"]
        assert {line.stream for line in written(spec).lines} == {Stream.STDERR}
        times = [line.at for line in written(spec).lines]
        assert times == sorted(times)
        assert running.stderr_tail[-1] == "end"
        assert len(running.stderr_tail) == 50
        await driver.ensure_absent(spec.replica_id)


async def test_the_last_lines_of_a_replica_that_is_ended_are_kept(rig: Rig) -> None:
    code = (
        "import signal\n"
        "def leave(*_):\n"
        "    print('farewell', file=sys.stderr, flush=True)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, leave)"
    )
    spec = spec_of(tiny(code), rig.image)
    async with rig.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        async with watching(running):
            pass
        await driver.ensure_absent(spec.replica_id)
        assert "farewell" in written(spec).texts


async def test_what_a_replica_uses_is_measured(rig: Rig) -> None:
    spec = spec_of(tiny("kept = bytearray(30_000_000)\nwhile time.process_time() < 0.5: pass"), rig.image)
    async with rig.driver() as driver:
        running = await driver.ensure_running(spec)
        await answered(running)
        usage = await eventually(running.usage, lambda found: found and found.memory_bytes > 30_000_000)
        assert usage is not None
        assert usage.cpu_seconds >= 0.5
        assert usage.memory_bytes < 128 * 2**20
        await driver.ensure_absent(spec.replica_id)
        assert await running.usage() is None


async def test_what_no_deployment_owns_is_ended_and_everything_else_is_left_alone(
    rig: Rig, other: Rig
) -> None:
    wanted, stray, foreign = (spec_of(tiny(), rig.image) for _ in range(3))
    async with rig.driver() as driver, other.driver() as stranger:
        for spec in (wanted, stray):
            await driver.ensure_running(spec)
        theirs = await stranger.ensure_running(foreign)
        assert await driver.sweep({wanted.replica_id}, older_than=300) == []
        assert await driver.sweep({wanted.replica_id}, older_than=0) == [stray.replica_id]
        with suppress(ReplicaFault):
            assert await driver.find(stray) is None
        found = await driver.find(wanted)
        assert found is not None
        await answered(found)
        await answered(theirs)
        assert await driver.sweep(set(), older_than=0) == [wanted.replica_id]
        await eventually(rig.left, lambda left: left == [])
        await stranger.ensure_absent(foreign.replica_id)
        await eventually(other.left, lambda left: left == [])


_LOOK = """
import json, os, socket
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
def may(path):
    try:
        open(path, "w").close()
    except OSError as error:
        return error.strerror
    return True
print(json.dumps({
    "uid": os.getuid(), "caps": status["CapEff"].strip(), "bound": status["CapBnd"].strip(),
    "new": status["NoNewPrivs"].strip(), "root": may("/opt/file"), "home": may(os.environ["HOME"] + "/file"),
    "seen": sorted(os.environ), "arguments": sys.argv[1:],
}), file=sys.stderr, flush=True)
"""


async def test_a_container_may_do_little_and_use_no_more_than_it_was_given(containers: DockerRig) -> None:
    spec = spec_of(tiny(_LOOK), containers.image)
    async with containers.driver(pids_limit=99) as driver:
        running = await driver.ensure_running(spec)
        async with watching(running) as watch:
            await asyncio.wait({watch}, timeout=0.01)
            told = await eventually(lambda: _told(spec), lambda found: found)
        assert told["uid"] == 10001
        assert int(told["caps"], 16) == int(told["bound"], 16) == 0
        assert told["root"] == "Read-only file system"
        assert told["home"] is True
        assert not [name for name in told["seen"] if name.startswith("MCP_")]
        if not isinstance(containers, SwarmRig):  # services of this engine's age cannot have it
            assert told["new"] == "1"
        shown = await containers.inspected(running)
        limits = shown["HostConfig"]
        assert (limits["Memory"], limits["PidsLimit"]) == (128 * 2**20, 99)
        assert limits["NanoCpus"] == 10**9
        assert limits["Init"] is True
        assert limits["RestartPolicy"]["Name"] in {"", "no"}
        await driver.ensure_absent(spec.replica_id)


async def _told(spec: ReplicaSpec) -> dict[str, Any]:
    found = [json.loads(text) for text in written(spec).texts if text.startswith("{")]
    return found[0] if found else {}


async def test_secrets_reach_a_container_as_environment_only(containers: DockerRig) -> None:
    spec = spec_of(tiny(), containers.image)
    async with containers.driver() as driver:
        running = await driver.ensure_running(spec)
        shown = await containers.inspected(running)
        assert SECRET in json.dumps(shown["Config"].pop("Env"))
        assert SECRET not in json.dumps(shown)
        labels = shown["Config"]["Labels"]
        assert labels["mcp-platform.replica"] == str(spec.replica_id)
        assert labels["mcp-platform.deployment"] == str(spec.deployment_id)
        assert labels["mcp-platform.slug"] == "clock"
        await driver.ensure_absent(spec.replica_id)


async def test_a_remote_server_is_handed_out_and_left_alone() -> None:
    server = ServerConfig(name="far", url="http://127.0.0.1:9/mcp?key=value", headers={"X-Key": SECRET})
    spec = spec_of(server, configured_url="http://127.0.0.1:9/mcp?key=${KEY}")
    driver = RemoteDriver()
    await driver.check()
    running = await driver.ensure_running(spec)
    assert (running.url, running.shown_url) == (server.url, spec.configured_url)
    assert running.headers == {"X-Key": SECRET}
    assert (running.pid, running.container, await running.usage()) == (None, None, None)
    async with watching(running) as watch:
        await asyncio.wait({watch}, timeout=0.01)
        assert not watch.done()
    assert await driver.sweep(set(), 0) == []
    await driver.ensure_absent(spec.replica_id)
    assert await driver.find(spec) == running
