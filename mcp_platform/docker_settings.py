"""Settings of the Docker engine: `MCP_PLATFORM_DOCKER__<NAME>`."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from mcp_platform.contracts.resources import checked_cpu, checked_memory


class DockerSettings(BaseModel):
    """The Docker engine that runs containers, and how images are built; times in seconds."""

    enabled: bool = True
    """Whether the worker offers the `docker` and `swarm` drivers."""
    host: str = "unix:///var/run/docker.sock"
    """The engine's address: `unix://…`, or `tcp://…` with TLS."""
    tls_ca_path: Path | None = None
    tls_cert_path: Path | None = None
    tls_key_path: Path | None = None
    timeout: float = Field(30.0, gt=0)
    """How long one request to the engine may take."""
    pull_timeout: float = Field(300.0, gt=0)
    """How long getting an image from its registry may take."""
    publish_address: str = "127.0.0.1"
    """Where the ports of containers are opened on the engine's machine."""
    reach_address: str = "127.0.0.1"
    """Under which address gateway and worker reach those ports."""
    user: str = Field("10001:10001", pattern=r"^[1-9]\d*:[1-9]\d*$")
    """User and group of what runs in a container."""
    pids_limit: int = Field(256, gt=0)
    tmpfs_bytes: int = Field(67_108_864, gt=0)
    """The size of `/tmp` and of each volume of an image: nowhere else can a container write."""
    default_cpu: Annotated[str, AfterValidator(checked_cpu)] = "1"
    default_memory: Annotated[str, AfterValidator(checked_memory)] = "512Mi"
    """What a replica gets whose deployment asks for nothing."""
    most_cpu: Annotated[str, AfterValidator(checked_cpu)] = "4"
    most_memory: Annotated[str, AfterValidator(checked_memory)] = "4Gi"
    """What one replica may have, unless its owner may change everybody's deployments."""
    most_environments: int = Field(16, gt=0)
    """How many environments may have networks at a time: an engine's address pools are small."""
    python_image: str = "python:3.12-slim"
    """The base of images that are built from Python packages."""
    node_image: str = "nikolaik/python-nodejs:python3.12-nodejs22-slim"
    """The base of images that are built from npm packages: it needs Python too, for the runner."""
    build_arguments: dict[str, str] = {}
    """Passed to builds, such as `PIP_INDEX_URL`; they stay out of the image that comes of it."""
    build_ca_path: Path | None = None
    """Further certificates that a build trusts (PEM)."""
    build_timeout: float = Field(900.0, gt=0)
    build_cpu: Annotated[str, AfterValidator(checked_cpu)] = "1"
    build_memory: Annotated[str, AfterValidator(checked_memory)] = "2Gi"
    """What each step of a build may use."""
    builds_at_once: int = Field(1, gt=0)
