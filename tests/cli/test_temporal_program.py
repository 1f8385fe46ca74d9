"""Where the `temporal` program comes from; the download and the Go tool are doubles here."""

import asyncio
from pathlib import Path

import pytest

from mcp_platform.cli import temporal_program
from mcp_platform.cli.temporal_program import TemporalUnavailable, find_or_get
from mcp_platform.settings import TemporalSettings


def a_program(path: Path, script: str = "exit 0") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def silent(line: str) -> None:
    """Say nothing."""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a machine that lacks Temporal and cannot download it; returns its own folder on PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", "raise SystemExit('no network')")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> TemporalSettings:
    return TemporalSettings(cache_dir=tmp_path / "cache")


def a_go(tools: Path, tmp_path: Path, before: str = ":") -> Path:
    """Put a Go tool on PATH that builds a program; returns the file with one line for each build."""
    builds = tmp_path / "builds"
    builds.touch()
    script = f'echo "$2" >> {builds}; {before}; cp /bin/true "$GOBIN/temporal"'
    a_program(tools / "go", script)
    return builds


async def test_a_given_program_comes_before_all_others(tools: Path, tmp_path: Path) -> None:
    a_program(tools / "temporal")
    given = a_program(tmp_path / "given")
    assert await find_or_get(TemporalSettings(server_path=given), silent) == given


async def test_a_given_program_that_does_not_exist_is_an_error(tools: Path, tmp_path: Path) -> None:
    a_program(tools / "temporal")
    with pytest.raises(TemporalUnavailable, match=r"SERVER_PATH names .*absent"):
        await find_or_get(TemporalSettings(server_path=tmp_path / "absent"), silent)


async def test_a_given_file_that_is_not_executable_is_an_error(tools: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch(mode=0o644)
    with pytest.raises(TemporalUnavailable, match="no executable file"):
        await find_or_get(TemporalSettings(server_path=plain), silent)


async def test_path_comes_before_the_cache_folder(tools: Path, settings: TemporalSettings) -> None:
    kept = a_program(settings.cache_dir / "temporal")
    assert await find_or_get(settings, silent) == kept
    on_path = a_program(tools / "temporal")
    assert await find_or_get(settings, silent) == on_path


async def test_what_was_downloaded_is_kept(
    tools: Path, settings: TemporalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = "import shutil, sys; shutil.copy('/bin/true', sys.argv[1] + '/temporal-sdk-1')"
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", download)
    assert await find_or_get(settings, silent) == settings.cache_dir / "temporal"
    monkeypatch.setattr(temporal_program, "_DOWNLOAD", "raise SystemExit('not again')")
    assert await find_or_get(settings, silent) == settings.cache_dir / "temporal"


async def test_without_a_download_go_builds_it_and_the_user_is_told(
    tools: Path, tmp_path: Path, settings: TemporalSettings
) -> None:
    builds = a_go(tools, tmp_path)
    said: list[str] = []
    assert await find_or_get(settings, said.append) == settings.cache_dir / "temporal"
    assert builds.read_text() == f"{temporal_program.GO_MODULE}\n"
    assert any("about 3 minutes" in line for line in said)


async def test_two_at_once_build_once(tools: Path, tmp_path: Path, settings: TemporalSettings) -> None:
    told = tmp_path / "told"
    builds = a_go(tools, tmp_path, before=f"until [ -e {told} ]; do sleep 0.05; done")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("Another process"):
            told.touch()

    paths = await asyncio.gather(find_or_get(settings, say), find_or_get(settings, say))
    assert set(paths) == {settings.cache_dir / "temporal"}
    assert len(builds.read_text().splitlines()) == 1
    assert "Another process is getting Temporal's server; waiting for it" in said


async def test_an_interrupted_build_leaves_nothing_and_the_next_one_succeeds(
    tools: Path, tmp_path: Path, settings: TemporalSettings
) -> None:
    builds = a_go(tools, tmp_path, before="touch $GOBIN/half; sleep 60")
    getting = asyncio.create_task(find_or_get(settings, silent))
    for _ in range(1000):
        if list(settings.cache_dir.glob("new-*/half")):
            break
        await asyncio.sleep(0.02)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    assert [path.name for path in settings.cache_dir.iterdir()] == ["lock"]
    a_go(tools, tmp_path)
    assert await find_or_get(settings, silent) == settings.cache_dir / "temporal"
    assert len(builds.read_text().splitlines()) == 2


async def test_what_a_killed_build_left_behind_is_swept(
    tools: Path, tmp_path: Path, settings: TemporalSettings
) -> None:
    a_go(tools, tmp_path)
    a_program(settings.cache_dir / "new-dead" / "temporal")
    await find_or_get(settings, silent)
    assert not list(settings.cache_dir.glob("new-*"))


async def test_a_failed_build_is_reported_with_its_last_line_and_the_remedies(
    tools: Path, settings: TemporalSettings
) -> None:
    a_program(tools / "go", "echo no space left on device; exit 1")
    with pytest.raises(TemporalUnavailable, match=r"no space left on device\nInstall Temporal's CLI"):
        await find_or_get(settings, silent)


async def test_without_any_way_the_remedies_are_named_in_two_lines(
    tools: Path, settings: TemporalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(TemporalUnavailable) as caught:
        await find_or_get(settings, silent)
    message = str(caught.value)
    assert len(message.splitlines()) == 2
    assert "MCP_PLATFORM_TEMPORAL__SERVER_PATH" in message


async def test_a_cache_folder_that_cannot_be_made_is_named(tools: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TemporalUnavailable, match="cannot keep Temporal's server in"):
        await find_or_get(TemporalSettings(cache_dir=tmp_path / "file" / "cache"), silent)
