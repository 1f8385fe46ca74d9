"""What a repository says of itself is read from its own files only, and links stay links."""

import io
import tarfile
from pathlib import Path

import pytest

from activities.build_plans import look_at
from activities.building import BuildFailed, BuildTranscript, ImagePlan
from activities.clients.docker_engine import DockerEngine
from activities.clients.image_builder import DockerImageBuilder, _write_context
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.variables import Mask
from tests.services.docker import DockerEngine as RealEngine

PROJECT = '[project]\nname = "own"\n'


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "requirements.txt", "package.json"])
@pytest.mark.parametrize("target", ["../secret", "/dev/zero", "inside"])
def test_links_do_not_tell_how_a_repository_is_installed(tmp_path: Path, name: str, target: str) -> None:
    folder = tmp_path / "tree"
    folder.mkdir()
    for path in (tmp_path / "secret", folder / "inside"):
        path.write_text(PROJECT)
    (folder / name).symlink_to(target)
    with pytest.raises(BuildFailed, match=r"has neither pyproject\.toml, setup\.py"):
        look_at(folder)


def test_a_description_of_absurd_size_or_depth_is_not_read(tmp_path: Path) -> None:
    described = tmp_path / "pyproject.toml"
    described.write_text(PROJECT + "#" * 1_048_576)
    with pytest.raises(BuildFailed, match="files of more than 1 MiB"):
        look_at(tmp_path)
    described.write_text("a = " + "[" * 100_000)
    with pytest.raises(BuildFailed, match=r"pyproject\.toml of the repository cannot be read"):
        look_at(tmp_path)
    described.write_text(PROJECT)
    assert look_at(tmp_path).project


def test_a_link_is_handed_to_the_engine_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "link").symlink_to("../secret")
    (folder / "folder").symlink_to("/etc")
    context = io.BytesIO()
    _write_context(ImagePlan("box:1", "FROM scratch", {}, {"source": folder}), context)
    with tarfile.open(fileobj=context) as archive:
        links = {entry.name: entry.linkname for entry in archive if entry.issym()}
        assert links == {"source/link": "../secret", "source/folder": "/etc"}
        assert set(archive.getnames()) == {"Dockerfile", "source", *links}


async def test_a_step_of_a_build_has_no_more_than_it_was_given(
    docker_engine: RealEngine, base_image: str
) -> None:
    folders = "/sys/fs/cgroup /sys/fs/cgroup/memory /sys/fs/cgroup/cpu"
    names = "memory.max memory.limit_in_bytes cpu.max cpu.cfs_quota_us"
    look = f"for f in {folders}; do for n in {names}; do cat $f/$n 2>/dev/null; done; done; true"
    transcript = BuildTranscript(Mask([]))
    settings = DockerSettings(host=docker_engine.host, build_memory="96Mi", build_cpu="300m")
    builder = DockerImageBuilder(DockerEngine(settings), "limits")
    try:
        plan = ImagePlan("mcp-platform-test/limits:1", f"FROM {base_image}\nRUN {look}\n", {})
        await builder.build(plan, transcript, lambda step: None)
    finally:
        await builder.close()
    words = " ".join(transcript.lines).split()
    assert str(96 * 2**20) in words
    assert "30000" in words
