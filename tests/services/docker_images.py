"""Images for tests, made without a registry of images: of a tar, and of Python packages."""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from docker import DockerClient

from tests.services.process import program, unavailable

_ROOT: Final = Path(__file__).parents[2]
_KEPT: Final = _ROOT / ".cache/services/docker"
BASE: Final = "mcp-platform-test/base:1"
NODE: Final = "mcp-platform-test/node:1"
TIME: Final = "mcp-platform-test/time:1"
_PACKAGES: Final = ("mcp-server-time", "aiohttp", "orjson")
"""A real server, and what the runner imports."""
_PYTHON: Final = "3.11"
"""The Python of the base image, Debian 12's."""


def import_base(client: DockerClient) -> str:
    """Import the base image from the tar that `install.sh` made."""
    tar = _KEPT / "base.tar"
    if not tar.exists():
        unavailable("the base image for containers is not there")
    repository, _, tag = BASE.partition(":")
    client.api.import_image(src=str(tar), repository=repository, tag=tag)
    return BASE


def import_node(client: DockerClient, base: str) -> str:
    """Build the base image with this machine's Node.js and npm."""
    node, npm = Path(program("node")).resolve(), Path(program("npm")).resolve()
    files = {"bin/node": node, "lib/node_modules/npm": npm.parents[1]}
    lines = [
        f"FROM {base}",
        "COPY bin /usr/local/bin",
        "COPY lib /usr/local/lib",
        "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm"
        " && ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx",
    ]
    return _build(client, NODE, lines, files)


def import_time(client: DockerClient, base: str) -> str:
    """Build the image of a real server behind our runner."""
    files = {"site": _site(), "app/runner": _ROOT / "runner", "app/mcp_platform": _ROOT / "mcp_platform"}
    lines = [
        f"FROM {base}",
        "ENV PYTHONPATH=/opt/app:/opt/site PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1",
        "COPY site /opt/site",
        "COPY app /opt/app",
        'ENTRYPOINT ["python3", "-P", "-m", "runner"]',
        # What the platform tells it else; so it can be run as it is too.
        'CMD ["--host", "0.0.0.0", "--port", "8000"]',
    ]
    return _build(client, TIME, lines, files)


def for_another_processor(client: DockerClient) -> str:
    """Make an empty image for a processor that this machine does not have."""
    name = "mcp-platform-test/elsewhere:1"
    other = "arm64" if platform.machine() == "x86_64" else "amd64"
    layer = _tar({"file": b"nothing"})
    digest = hashlib.sha256(layer).hexdigest()
    config = {
        "architecture": other,
        "os": "linux",
        "config": {"Cmd": ["/file"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    saved = {"manifest.json": manifest, "config.json": config}
    files = {key: json.dumps(value).encode() for key, value in saved.items()} | {"layer.tar": layer}
    client.images.load(_tar(files))
    return name


def that_runs(client: DockerClient, base: str, command: list[str]) -> str:
    """Make an image that runs this command, as an author's own image would."""
    name = f"mcp-platform-test/own:{hashlib.sha256(repr(command).encode()).hexdigest()[:12]}"
    return _build(client, name, [f"FROM {base}", "ENTRYPOINT []", f"CMD {json.dumps(command)}"], {})


def derived(client: DockerClient, base: str, lines: Sequence[str]) -> str:
    """Make an image from another by lines of a Dockerfile."""
    name = f"mcp-platform-test/derived:{hashlib.sha256(repr(lines).encode()).hexdigest()[:12]}"
    return _build(client, name, [f"FROM {base}", *lines], {})


def _tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _site() -> Path:
    """Give a folder with the packages, compiled for the image's Python; it is made once."""
    digest = hashlib.sha256(" ".join((*_PACKAGES, _PYTHON)).encode()).hexdigest()[:16]
    folder = _KEPT / f"site-{digest}"
    if not folder.exists():
        making = folder.with_suffix(f".{os.getpid()}")
        search = os.pathsep.join((os.environ.get("PATH", ""), str(_ROOT / ".cache/tools/bin")))
        uv = shutil.which("uv", path=search) or unavailable("uv is not installed")
        options = ("--quiet", "--no-build", "--python-version", _PYTHON, "--target", str(making))
        subprocess.run([uv, "pip", "install", *options, *_PACKAGES], check=True, timeout=300)
        try:
            making.rename(folder)
        except OSError:  # another session was quicker
            shutil.rmtree(making)
    return folder


def _build(client: DockerClient, name: str, lines: list[str], files: dict[str, Path]) -> str:
    """Build an image from a Dockerfile and files, without the network."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        dockerfile = tarfile.TarInfo("Dockerfile")
        text = "\n".join(lines).encode()
        dockerfile.size = len(text)
        tar.addfile(dockerfile, io.BytesIO(text))
        for place, source in files.items():
            tar.add(source, place, filter=_plain)
    context.seek(0)
    client.images.build(
        fileobj=context, custom_context=True, encoding="utf-8", tag=name, rm=True, network_mode="none"
    )
    return name


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out compiled files; everything belongs to root."""
    if "__pycache__" in entry.name:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
