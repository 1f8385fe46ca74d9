"""Each kind of driver."""

import pytest

from tests.drivers.rigs import DockerRig, ProcessRig, Rig, SwarmRig


def _container_rig(kind: str, request: pytest.FixtureRequest) -> DockerRig:
    image = request.getfixturevalue("time_image")
    if kind == "docker":
        return DockerRig(request.getfixturevalue("docker_engine"), image)
    return SwarmRig(request.getfixturevalue("docker_swarm"), image)


def _rig(kind: str, request: pytest.FixtureRequest) -> Rig:
    return ProcessRig() if kind == "process" else _container_rig(kind, request)


@pytest.fixture(params=["process", "docker", "swarm"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give the name of each driver that starts something."""
    return str(request.param)


@pytest.fixture
def rig(kind: str, request: pytest.FixtureRequest) -> Rig:
    """Give each driver that starts something."""
    return _rig(kind, request)


@pytest.fixture
def other(kind: str, request: pytest.FixtureRequest) -> Rig:
    """Give the same driver of another platform."""
    return _rig(kind, request)


@pytest.fixture(params=["docker", "swarm"])
def containers(request: pytest.FixtureRequest) -> DockerRig:
    """Give each driver that runs containers."""
    return _container_rig(request.param, request)


@pytest.fixture
def docker(request: pytest.FixtureRequest) -> DockerRig:
    """Give the Docker driver."""
    return _container_rig("docker", request)
