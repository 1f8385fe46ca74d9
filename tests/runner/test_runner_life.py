"""The runner lives as long as its server, and its server not longer than the runner."""

import os
import signal
import sys

import aiohttp
import psutil
import pytest

from tests.runner.conftest import ROOT, SERVERS, RunningRunner, Start, all_gone, gone, members, until


def child_of(runner: RunningRunner) -> psutil.Process:
    """Find the server's process."""
    return psutil.Process(runner.process.pid).children()[0]


async def test_a_server_that_exits_at_once_ends_the_runner_with_the_reason(start: Start) -> None:
    runner = await start("exit")
    assert await runner.ended() == 3
    assert runner.stderr() == ["cannot start: no configuration", "runner: the server exited with status 7"]


async def test_a_command_that_does_not_exist_is_named(start: Start) -> None:
    runner = await start("none", "/no/such/program")
    assert await runner.ended() == 127
    assert runner.stderr() == [
        "runner: cannot run /no/such/program: No such file or directory: /no/such/program"
    ]


async def test_a_server_that_never_speaks_mcp_is_given_up(start: Start) -> None:
    patient = await start("mute")
    assert await patient.health() == 503
    runner = await start("mute", options=("--start-timeout", "1"))
    assert await runner.ended() == 4
    assert runner.stderr() == ["runner: the server did not answer as an MCP server within 1 s"]


async def test_a_server_that_dies_in_a_call_ends_the_runner_with_its_signal(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "die"}}
    async with aiohttp.ClientSession() as http:
        try:
            async with http.post(runner.url, json=request) as response:
                # Not as the server's own answer: the call may be repeated elsewhere, where that is allowed.
                assert (response.status, "SIGKILL" in (await response.json())["detail"]) == (502, True)
        except aiohttp.ClientConnectionError:
            pass  # the runner was gone before its last answer went out
    assert await runner.ended() == 3
    assert runner.stderr() == ["runner: the server was ended by SIGKILL"]


async def test_the_end_of_standard_input_ends_runner_and_server(start: Start) -> None:
    runner = await (await start("legacy")).ready()
    server = child_of(runner)
    assert runner.process.stdin is not None
    runner.process.stdin.close()
    assert await runner.ended() == 0
    await gone(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_runner_and_server(start: Start, number: signal.Signals) -> None:
    runner = await (await start("legacy")).ready()
    server = child_of(runner)
    runner.process.send_signal(number)
    assert await runner.ended() == 0
    await gone(server)


async def test_a_server_that_ignores_sigterm_is_killed(start: Start) -> None:
    runner = await (await start("stubborn")).ready()
    server = child_of(runner)
    runner.process.terminate()
    assert await runner.ended() == 0
    await gone(server)


async def test_what_the_server_started_ends_with_it(start: Start) -> None:
    runner = await (await start("family")).ready()
    assert len(members(runner.process.pid)) == 3
    child_of(runner).kill()
    assert await runner.ended() == 3
    await all_gone(runner.process.pid)


async def test_a_killed_runner_takes_its_server_along(start: Start) -> None:
    runner = await (await start("stubborn")).ready()
    server = child_of(runner)
    runner.process.kill()
    await runner.ended()
    await gone(server)


async def test_nothing_remains_of_a_parent_that_was_killed() -> None:
    program = (
        "import subprocess, sys, time\n"
        f"server = [sys.executable, {SERVERS!r}, 'family']\n"
        "command = [sys.executable, '-m', 'runner', '--grace', '0.2', '--', *server]\n"
        "pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}\n"
        "runner = subprocess.Popen(command, start_new_session=True, **pipes)\n"
        "runner.stdout.readline()\n"
        "print(runner.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = psutil.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=-1)
    with parent.stdout:
        group = int(parent.stdout.readline())

    async def all_started() -> bool:
        return len(members(group)) == 3

    await until(all_started)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    await all_gone(group)
