"""Asking package registries, which are strangers and may be away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from activities.clients.packages import PackageRegistries
from mcp_platform.check_settings import PackageSettings
from mcp_platform.contracts.checks import PackageQuestion, Registry
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.packages import package_of
from tests.checks.registries import LocalRegistry, local_registry
from tests.platform import free_port


@pytest.fixture
async def registry() -> AsyncIterator[LocalRegistry]:
    async with local_registry() as opened:
        yield opened


@pytest.fixture
async def registries(registry: LocalRegistry) -> AsyncIterator[PackageRegistries]:
    opened = at(registry.url)
    yield opened
    await opened.close()


def at(url: str, timeout: float = 5.0) -> PackageRegistries:
    """Ask a registry at this address."""
    return PackageRegistries(
        PackageSettings(pypi_url=SecretStr(url), npm_url=SecretStr(url + "/"), timeout=timeout)
    )


def pypi(name: str, version: str | None = None) -> PackageQuestion:
    """Ask about a Python package."""
    return PackageQuestion(registry=Registry.PYPI, name=name, version=version)


def npm(name: str, version: str | None = None) -> PackageQuestion:
    """Ask about a package of npm."""
    return PackageQuestion(registry=Registry.NPM, name=name, version=version)


async def test_a_python_package_is_found_however_its_name_is_written(
    registry: LocalRegistry, registries: PackageRegistries
) -> None:
    found = await registries.look_up(pypi("MCP_Server.Time", "1.0.0"))
    assert found.exists is True
    assert (found.version, found.latest) == ("1.0", "2.1.0")
    assert found.released_at == datetime(2026, 2, 2, 0, 0, 7, tzinfo=UTC)
    assert (found.licence, found.summary) == ("MIT License", "Tells the time")
    assert not found.withdrawn
    assert registry.asked == ["/pypi/mcp-server-time/json"]


async def test_a_package_of_npm_is_found_with_its_scope(
    registry: LocalRegistry, registries: PackageRegistries
) -> None:
    found = await registries.look_up(npm("@scope/server"))
    assert (found.exists, found.version, found.latest, found.licence) == (True, None, "3.0.1", "Apache-2.0")
    assert found.released_at == datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    assert registry.asked == ["/@scope%2Fserver"]


@pytest.mark.parametrize("question", [pypi("mcp-server-time", "1.5"), npm("@scope/server", "3.0.0")])
async def test_a_version_that_was_withdrawn_is_told(
    registries: PackageRegistries, question: PackageQuestion
) -> None:
    found = await registries.look_up(question)
    assert (found.exists, found.version, found.withdrawn) == (True, question.version, True)


@pytest.mark.parametrize(
    "question",
    [pypi("mcp-server-time", "9.9"), pypi("mcp-server-time", "1.6"), npm("@scope/server", "9.9.9")],
)
async def test_a_version_that_does_not_exist_is_told_from_a_package_that_does(
    registries: PackageRegistries, question: PackageQuestion
) -> None:
    found = await registries.look_up(question)
    assert (found.exists, found.version) == (True, None)
    assert f"no version {question.version}" in (found.reason or "")


async def test_a_package_that_nobody_published_does_not_exist(registries: PackageRegistries) -> None:
    for question in (pypi("invented-by-a-model"), npm("@scope/invented")):
        found = await registries.look_up(question)
        assert found.exists is False
        assert found.reason == f"{question.registry} has no package {question.name}"


@pytest.mark.parametrize(
    "question",
    [pypi("../admin"), pypi("a b"), pypi("x" * 300), npm("@scope/../x"), npm("a/b"), npm("a?b"), npm(".a")],
)
async def test_what_is_no_name_never_reaches_an_address(
    registry: LocalRegistry, registries: PackageRegistries, question: PackageQuestion
) -> None:
    found = await registries.look_up(question)
    assert found.exists is False
    assert "no name of a package" in (found.reason or "")
    assert registry.asked == []


@pytest.mark.parametrize("name", ["broken", "html", "no-object", "no-version"])
async def test_a_registry_that_does_not_say_leaves_it_open(registries: PackageRegistries, name: str) -> None:
    found = await registries.look_up(pypi(name))
    assert found.exists is None
    assert "pypi (127.0.0.1) answers with" in (found.reason or "")


async def test_a_registry_that_is_slow_or_away_leaves_it_open(registry: LocalRegistry) -> None:
    slow, away = at(registry.url, 0.2), at(f"http://user:hidden@127.0.0.1:{free_port()}")
    late, none = await slow.look_up(pypi("slow")), await away.look_up(pypi("any"))
    assert late.exists is None
    assert "did not answer within 0.2 s" in (late.reason or "")
    assert none.exists is None
    assert "cannot be reached" in (none.reason or "")
    assert "hidden" not in (none.reason or "")
    await slow.close()
    await away.close()


async def test_an_answer_is_kept_for_a_while_and_a_failure_is_not(
    registry: LocalRegistry, registries: PackageRegistries
) -> None:
    for _ in range(2):
        await registries.look_up(pypi("mcp-server-time"))
        await registries.look_up(pypi("broken"))
    assert registry.asked.count("/pypi/mcp-server-time/json") == 1
    assert registry.asked.count("/pypi/broken/json") == 2


async def test_a_credential_in_the_address_is_sent_as_one(registry: LocalRegistry) -> None:
    private = at(registry.url.replace("http://", "http://user:pass@"))
    assert (await private.look_up(pypi("mcp-server-time"))).exists
    assert registry.credentials == ["Basic dXNlcjpwYXNz"]
    await private.close()


@pytest.mark.parametrize(
    ("command", "question"),
    [
        ("uvx mcp-server-time==2.1.0", pypi("mcp-server-time", "2.1.0")),
        ("uvx --from mcp[cli]==1.2 mcp", pypi("mcp", "1.2")),
        ("uvx --with extra --from some-server>=1 serve", pypi("some-server")),
        ("uvx some-server@latest", pypi("some-server")),
        ("/usr/bin/uvx some-server@1.2", pypi("some-server", "1.2")),
        ("pipx run some-server", pypi("some-server")),
        ("npx -y @scope/server@1.2.3 /data", npm("@scope/server", "1.2.3")),
        ("npx -y server@^1 --flag", npm("server")),
        ("npx -p @scope/tools tool", npm("@scope/tools")),
        ("python -m some_module", None),
        ("uvx git+https://git.example.com/x", None),
        ("some-program", None),
    ],
)
def test_a_command_tells_which_package_it_runs(command: str, question: PackageQuestion | None) -> None:
    name, *args = command.split()
    assert package_of(ServerConfig(command=name, args=args)) == question
