"""What containers are made of, without an engine."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.clients.containers.logs import Frames
from activities.clients.containers.spec import (
    arguments_of,
    check_architecture,
    container_options,
    end_reason,
    environment_of,
    image_of,
    labels_of,
    network_of,
    path_of,
    port_of,
)
from activities.clients.containers.usage import usage_of
from activities.clients.services.spec import is_over, task_template, why_over
from activities.drivers import LogLine, ReplicaFault, Stream, Usage
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.contracts.resources import Resources
from mcp_platform.docker_settings import DockerSettings
from tests.drivers.rigs import SECRET, spec_of

COMMAND = ServerConfig(command="serve", args=["--key", SECRET], env={"TOKEN": SECRET}, cwd=f"/data/{SECRET}")
IMAGE = ServerConfig(image="box:1", port=9000, path="/own", env={"TOKEN": SECRET})


def test_a_command_line_goes_by_the_environment_and_nowhere_else() -> None:
    spec = spec_of(COMMAND, "built:1")
    environment = environment_of(spec)
    assert json.loads(environment["MCP_RUNNER_COMMAND"]) == ["serve", "--key", SECRET]
    assert environment["MCP_RUNNER_CWD"] == f"/data/{SECRET}"
    assert environment["TOKEN"] == SECRET
    options = container_options(spec, DockerSettings(), "here")
    del options["environment"]
    assert SECRET not in json.dumps([options, arguments_of(spec, 3.0), labels_of(spec, "here", "docker")])
    template = task_template(spec, DockerSettings(), "here", "built:1", "net", 3.0)
    del template["ContainerSpec"]["Env"]
    assert SECRET not in json.dumps(template)


def test_an_image_is_run_as_it_is() -> None:
    spec = spec_of(IMAGE)
    assert (image_of(spec), port_of(spec), path_of(spec)) == ("box:1", 9000, "/own")
    assert arguments_of(spec, 3.0) is None
    assert environment_of(spec) == {"HOME": "/tmp", "TOKEN": SECRET}
    plain = spec_of(ServerConfig(image="box:1"))
    assert (port_of(plain), path_of(plain)) == (8000, "/mcp")


def test_an_image_takes_no_arguments() -> None:
    with pytest.raises(ReplicaFault, match="takes no args; use env"):
        image_of(spec_of(ServerConfig(image="box:1", args=["--verbose"])))


def test_a_container_gets_what_was_asked_for_or_the_platforms_default() -> None:
    settings = DockerSettings(default_cpu="250m", default_memory="64Mi")
    asked = container_options(spec_of(IMAGE, resources=Resources(cpu="1.5", memory="1Gi")), settings, "here")
    assert (asked["nano_cpus"], asked["mem_limit"], asked["memswap_limit"]) == (1_500_000_000, 2**30, 2**30)
    usual = container_options(spec_of(IMAGE, resources=Resources()), settings, "here")
    assert (usual["nano_cpus"], usual["mem_limit"], usual["memswap_limit"]) == (250_000_000, 2**26, 2**26)


def test_networks_differ_by_platform_environment_and_way_out() -> None:
    spec = spec_of(IMAGE)
    names = [
        network_of(spec, "here", "docker"),
        network_of(spec, "there", "docker"),
        network_of(replace(spec, environment="staging"), "here", "docker"),
        network_of(replace(spec, egress=False), "here", "docker"),
        network_of(spec, "here", "swarm"),
    ]
    assert len(set(names)) == 5
    assert names[0] == "mcp-platform-here-production"


def test_no_environment_has_the_network_of_another() -> None:
    closed = spec_of(IMAGE, environment="x", egress=False)
    for kind in ("docker", "swarm"):
        assert network_of(spec_of(IMAGE, environment="x-internal"), "here", kind) != network_of(
            closed, "here", kind
        )


@pytest.mark.parametrize(
    "image", ["sha256:" + "a" * 64, "a" * 64, "0123456789ab", "beef", "sha256:abc", "sha256:\n"]
)
def test_an_image_that_is_named_by_its_id_is_refused(image: str) -> None:
    with pytest.raises(ReplicaFault, match="name an image by name and tag"):
        image_of(spec_of(ServerConfig(image=image)))
    assert image_of(spec_of(COMMAND, "sha256:" + "a" * 64)) == "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "image",
    [
        "mcp-platform/clock:abc",
        "mcp-platform-runner:abc",
        "docker.io/mcp-platform/clock",
        "index.docker.io/library/mcp-platform-runner:1",
    ],
)
def test_an_image_by_the_name_of_one_that_the_platform_built_is_refused(image: str) -> None:
    with pytest.raises(ReplicaFault, match="was built by this platform for another server"):
        image_of(spec_of(ServerConfig(image=image)))


@pytest.mark.parametrize(
    "image", ["box", "beef:1", "team/beef", f"box@sha256:{'a' * 64}", "127.0.0.1:5000/mcp-platform"]
)
def test_an_image_that_is_named_is_run(image: str) -> None:
    assert image_of(spec_of(ServerConfig(image=image))) == image


def test_volumes_of_an_image_are_bounded_and_in_memory() -> None:
    settings = DockerSettings(tmpfs_bytes=1024)
    options = container_options(spec_of(IMAGE), settings, "here", ["/data/", "/tmp"])
    assert options["tmpfs"] == {path: "rw,nosuid,nodev,size=1024,mode=1777" for path in ("/data", "/tmp")}
    template = task_template(spec_of(IMAGE), settings, "here", "box:1", "net", 3.0, ["/data/", "/tmp"])
    mounts = template["ContainerSpec"]["Mounts"]
    assert [(one["Target"], one["Type"], one["TmpfsOptions"]["SizeBytes"]) for one in mounts] == [
        ("/data", "tmpfs", 1024),
        ("/tmp", "tmpfs", 1024),
    ]


@pytest.mark.parametrize(
    ("state", "said", "reason"),
    [
        (
            {"OOMKilled": True, "ExitCode": 3},
            "the server was ended by SIGKILL",
            "it ran out of memory (limit 64.0 MiB)",
        ),
        ({"ExitCode": 3}, "the server exited with status 7", "the server exited with status 7"),
        ({"ExitCode": 127, "Error": "no such file"}, None, "the container could not run: no such file"),
        ({"ExitCode": 2}, None, "the container exited with status 2"),
        ({"ExitCode": 137}, None, "the container exited with status 137 (SIGKILL)"),
    ],
)
def test_an_end_is_told_in_words(state: dict[str, Any], said: str | None, reason: str) -> None:
    assert end_reason(state, 64 * 2**20, said) == reason


@pytest.mark.parametrize(
    ("task", "over", "reason"),
    [
        ({"Status": {"State": "running"}, "DesiredState": "running"}, False, None),
        ({"Status": {"State": "running"}, "DesiredState": "shutdown"}, True, "the swarm gave up its node"),
        (
            {"Status": {"State": "rejected", "Err": "No such image: box:1"}, "DesiredState": "running"},
            True,
            "the swarm could not run it: No such image: box:1",
        ),
        (
            {
                "Status": {
                    "State": "failed",
                    "Err": "task: non-zero exit (2)",
                    "ContainerStatus": {"ExitCode": 2},
                },
                "DesiredState": "running",
            },
            True,
            "the container exited with status 2",
        ),
    ],
)
def test_what_became_of_a_task_is_told_in_words(task: dict[str, Any], over: bool, reason: str | None) -> None:
    assert is_over(task) is over
    if reason:
        assert why_over(task, 2**26, None, None) == reason


def test_an_image_for_another_processor_is_told() -> None:
    check_architecture("box:1", "amd64", "x86_64")
    check_architecture("box:1", "", "x86_64")
    with pytest.raises(ReplicaFault, match="the image box:1 is for arm64; the engine's machine is amd64"):
        check_architecture("box:1", "arm64", "x86_64")


def _frame(stream: int, text: str) -> bytes:
    body = text.encode()
    return bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body


def test_log_frames_become_lines_wherever_they_are_cut() -> None:
    stamp = "2026-11-21T12:00:00.123456789Z"
    data = b"".join(
        [
            _frame(2, f"{stamp} one\n"),
            _frame(2, f"{stamp} be"),  # the engine cuts long lines
            _frame(1, f"{stamp} other\n"),
            _frame(2, f"{stamp} gun\r\n"),
            _frame(1, f"{stamp} \n"),
        ]
    )
    at = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
    expected = [
        LogLine(at=at, stream=stream, text=text)
        for stream, text in [
            (Stream.STDERR, "one"),
            (Stream.STDOUT, "other"),
            (Stream.STDERR, "begun"),
            (Stream.STDOUT, ""),
        ]
    ]
    for size in (1, 7, 30, len(data)):
        frames = Frames()
        cut = [data[place : place + size] for place in range(0, len(data), size)]
        assert [line for chunk in cut for line in frames.take(chunk)] == expected


def test_files_that_the_kernel_keeps_are_not_memory_that_is_used() -> None:
    cpu = {"cpu_usage": {"total_usage": 2_500_000_000}}
    for name in ("total_inactive_file", "inactive_file"):
        memory = {"usage": 100, "stats": {name: 30}}
        assert usage_of({"cpu_stats": cpu, "memory_stats": memory}) == Usage(2.5, 70)
    assert usage_of({"cpu_stats": cpu, "memory_stats": {}}) is None
