"""What stands around the gateway: the upstream, made with Go, and nginx as a plain reverse proxy."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.servers import await_port, first_line, free_ports, running

_ROOT = Path(__file__).parents[2]
_INSTALL = _ROOT / "benchmarks" / "install.sh"
UPSTREAM = _ROOT / ".cache" / "benchmarks" / "upstream"
_SYSTEM_PROGRAMS = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin"

_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream benchmark {{
        server {upstream};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://benchmark;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host 127.0.0.1;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Upstream:
    """The server behind it all: one path for each era, as its SDK wants it."""

    base: str
    modern: str
    legacy: str
    pid: int

    @property
    def address(self) -> str:
        """Host and port."""
        return self.base.removeprefix("http://")


async def ensure_installed() -> None:
    """Install and build what is missing; what it does, it says on standard error."""
    process = await asyncio.create_subprocess_exec(str(_INSTALL))
    if await process.wait() != 0:
        raise RuntimeError("what the benchmark needs could not be installed; see above")


@asynccontextmanager
async def running_upstream(folder: Path, port: int = 0) -> AsyncIterator[Upstream]:
    """Run the upstream on a port, or on one that is free."""
    log = folder / "upstream.log"
    async with running(str(UPSTREAM), "http", str(port), log=log) as process:
        said = await first_line(process, log)
        yield Upstream(said["url"], said["modern"], said["legacy"], process.pid)


@asynccontextmanager
async def running_nginx(folder: Path, upstream: Upstream) -> AsyncIterator[tuple[str, int]]:
    """Run nginx in front of it: its address, and the process that does the work."""
    (port,) = free_ports(1)
    place = folder / "nginx"
    place.mkdir(exist_ok=True)
    file = place / "nginx.conf"
    file.write_text(_NGINX.format(folder=place, upstream=upstream.address, port=port))
    async with running(find("nginx"), "-c", str(file), log=place / "nginx.log") as process:
        await await_port(port)
        (worker,) = psutil.Process(process.pid).children()
        yield f"http://127.0.0.1:{port}", worker.pid


def find(program: str) -> str:
    """Find a program, also where only administrators look."""
    found = shutil.which(program, path=_SYSTEM_PROGRAMS)
    if found is None:
        raise RuntimeError(f"{program} is not installed: run benchmarks/install.sh")
    return found
