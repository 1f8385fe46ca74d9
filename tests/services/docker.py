"""A Docker engine of the session's own: its own data, its own networks, nothing left at the end.

`docker_engine` is the engine, `docker_swarm` the same one as a swarm of one node; `base_image`,
`node_image` and `time_image` are images in it.
"""

import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import pytest
from docker import DockerClient
from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from mcp_platform.cli.temporal_program import locked, tied
from tests.services.docker_images import import_base, import_node, import_time
from tests.services.process import program, running, unavailable

_FOLDERS: Final = "mcp-platform-docker-"


class DockerEngine:
    """An engine that may be stopped, killed and started again with all that it held.

    It is started by the main thread only: it ends with the thread that started it.

    Args:
        folder: Where its data and its socket are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder}/docker.sock"
        """Its address, also while it is away."""
        self._name = f"mp{secrets.token_hex(3)}"
        self._net = _free_net()
        self._swarm_arguments: list[str] = []
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        _ip("link", "add", "name", self._name, "type", "bridge")
        _ip("addr", "add", f"{self._net}.0.1/24", "dev", self._name)
        self.start()

    @property
    def client(self) -> DockerClient:
        """A client of it; close it where it is not the engine's own."""
        return self._client

    @property
    def pid(self) -> int:
        """The process of the engine itself."""
        return int((self.folder / "pid").read_text())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            program("dockerd"),
            *("--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid")),
            *("--host", self.host),
            *("--bridge", self._name),
            *("--log-level", "warn"),
            *("--shutdown-timeout", "2"),
        ]
        self._client = DockerClient(base_url=self.host, version="1.41", timeout=60)
        self._process = self._running.enter_context(
            running(
                tied(command),
                self.folder / "log",
                lambda: _answers(self.folder / "docker.sock", self._client),
            )
        )

    def stop(self) -> None:
        """End it as an operator does: its containers end too."""
        self._client.close()
        self._running.close()

    def kill(self) -> None:
        """Kill the engine itself at once; its containers run on until it is started again."""
        os.kill(self.pid, 9)
        # Where nobody reaps what is left of them, a new engine would take them for alive.
        for left in ("pid", "exec/containerd/containerd.pid"):
            (self.folder / left).unlink(missing_ok=True)
        self.stop()

    @contextmanager
    def machine_outside(self, port: str) -> Iterator[str]:
        """Run a web server in a network namespace of its own, one hop away; its address."""
        place, near, far = f"{self._name}o", f"{self._name}n", f"{self._name}f"
        address = f"{self._net}.250.2"
        _ip("netns", "add", place)
        try:
            _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", place)
            _ip("addr", "add", f"{self._net}.250.1/24", "dev", near)
            _ip("link", "set", near, "up")
            for words in (("addr", "add", f"{address}/24", "dev", far), ("link", "set", far, "up")):
                _ip("-n", place, *words)
            _ip("-n", place, "route", "add", "default", "via", f"{self._net}.250.1")
            command = [program("ip"), "netns", "exec", place, sys.executable, "-m", "http.server", port]
            with running(tied(command), self.folder / "outside", lambda: _listens(address, int(port))):
                yield address
        finally:
            _ip("netns", "delete", place)

    def ensure_started(self) -> None:
        """Start it unless it runs."""
        if not _answers(self.folder / "docker.sock", self._client):
            self.stop()
            self.start()

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def swarm(self) -> None:
        """Make it a swarm of one node, on addresses and ports that no other engine here uses."""
        options = {"com.docker.network.bridge.name": f"{self._name}g"}
        self._client.networks.create("docker_gwbridge", options=options)
        own = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250) + 2}.2"
        self._client.swarm.init(
            advertise_addr=own,
            listen_addr=f"{own}:2377",
            default_addr_pool=[f"{self._net}.64.0/18"],
            subnet_size=24,
            data_path_port=20_000 + secrets.randbelow(20_000),
        )

    def clear(self) -> None:
        """Remove every service, container and network of whoever made them."""
        with suppress(APIError):
            for service in self._client.services.list():
                service.remove()
        for container in self._client.containers.list(all=True):
            with suppress(APIError):
                container.remove(force=True, v=True)
        with suppress(APIError):
            self._client.swarm.leave(force=True)
        for network in self._client.networks.list():
            with suppress(APIError):
                network.remove()

    def remove(self) -> None:
        """End it for good, with all that it held."""
        try:
            self.clear()
        finally:
            self.stop()
            _unmount(self.folder)
            _forget_rules((self._name, f"{self._net}."))
            for link in (self._name, f"{self._name}g"):
                _ip("link", "delete", link, check=False)


def _answers(path: Path, client: DockerClient) -> bool:
    # The SDK leaves a socket open after each connection that is refused.
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) != 0:
            return False
    try:
        return bool(client.ping())
    except (DockerException, RequestException):
        return False


def _listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def _free_net() -> str:
    """Choose 10.x that no interface of this machine is in."""
    taken = {str(ipaddress.ip_interface(line.split()[3]).ip) for line in _ip("-4", "-o", "addr").splitlines()}
    taken |= {line.split()[0] for line in _ip("-4", "route").splitlines()}
    free = [f"10.{second}" for second in range(64, 224)]
    return secrets.choice([net for net in free if not any(one.startswith(f"{net}.") for one in taken)])


def _ip(*arguments: str, check: bool = True) -> str:
    command = [program("ip"), *arguments]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=60).stdout


def _unmount(folder: Path) -> None:
    """Unmount what the engine left, the innermost first."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((one for one in mounted if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run([program("umount"), "--lazy", place], check=False, timeout=60)


def _forget_rules(words: Sequence[str]) -> None:
    """Take away the packet filter's rules that name what was ours: an engine leaves them behind."""
    for table in ("filter", "nat"):
        command = [program("iptables"), "--wait", "5", "-t", table]
        listed = subprocess.run([*command, "-S"], check=False, capture_output=True, text=True, timeout=30)
        for rule in listed.stdout.splitlines():
            if rule.startswith("-A ") and any(word in rule for word in words):
                subprocess.run([*command, "-D", *rule.split()[1:]], check=False, timeout=30)


@contextmanager
def running_engine() -> Iterator[DockerEngine]:
    """Run an engine until the end of the context."""
    if sys.platform != "linux" or os.geteuid() != 0:
        unavailable("a Docker engine of the tests' own needs root on Linux")
    for name in ("dockerd", "iptables", "ip"):
        program(name)
    _remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=_FOLDERS, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lock = locked(folder / "lock")
        try:
            engine = DockerEngine(folder)
            try:
                yield engine
            finally:
                engine.remove()
        finally:
            if lock:
                lock.close()


def _remove_leftovers() -> None:
    """Remove what a session left that was killed: an engine on the same data ends its containers."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDERS}*"):
        lock = (folder / "lock").exists() and locked(folder / "lock")
        if lock and time.time() - folder.stat().st_mtime > 60:
            (folder / "pid").unlink(missing_ok=True)
            with suppress(pytest.fail.Exception):
                DockerEngine(folder).remove()
            shutil.rmtree(folder, ignore_errors=True)
        if lock:
            lock.close()


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Give the session's Docker engine."""
    with running_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def docker_swarm(docker_engine: DockerEngine) -> DockerEngine:
    """Give the session's Docker engine as a swarm of one node."""
    docker_engine.swarm()
    return docker_engine


@pytest.fixture(scope="session")
def base_image(docker_engine: DockerEngine) -> str:
    """Give the name of an image with Python, venv and certificates: Debian's smallest otherwise."""
    return import_base(docker_engine.client)


@pytest.fixture(scope="session")
def node_image(docker_engine: DockerEngine, base_image: str) -> str:
    """Give the name of the base image with this machine's Node.js and npm in it."""
    return import_node(docker_engine.client, base_image)


@pytest.fixture(scope="session")
def time_image(docker_engine: DockerEngine, base_image: str) -> str:
    """Give the name of an image with `mcp-server-time`, and our runner as its entry point."""
    return import_time(docker_engine.client, base_image)
