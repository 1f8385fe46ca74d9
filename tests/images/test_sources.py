"""What an image is built from is told by the configuration, or by the command."""

from typing import Any

import pytest
from pydantic import ValidationError

from mcp_platform.build_sources import build_source, command_in_image
from mcp_platform.contracts.images import SourceKind
from mcp_platform.contracts.mcps import ServerConfig

PYPI, NPM = SourceKind.PYPI, SourceKind.NPM


def server(command: str, *args: str, build: dict[str, Any] | None = None) -> ServerConfig:
    """Give a server with a command."""
    return ServerConfig.model_validate({"command": command, "args": list(args), "build": build})


@pytest.mark.parametrize(
    ("line", "kind", "packages", "command"),
    [
        ("uvx mcp-server-time", PYPI, ["mcp-server-time"], "mcp-server-time"),
        ("uvx mcp-server-time@2026.1.26 --local-timezone UTC", PYPI, ["mcp-server-time==2026.1.26"],
         "mcp-server-time --local-timezone UTC"),
        ("uvx mcp-server-time==1.0", PYPI, ["mcp-server-time==1.0"], "mcp-server-time"),
        ("uvx server[http]@latest", PYPI, ["server[http]"], "server"),
        ("uvx --from mcp[cli]>=1,<2 mcp run", PYPI, ["mcp[cli]>=1,<2"], "mcp run"),
        ("uvx --from=one --with two three", PYPI, ["one", "two"], "three"),
        ("uvx -q --with two one", PYPI, ["one", "two"], "one"),
        ("/usr/local/bin/uvx one", PYPI, ["one"], "one"),
        ("uv tool run one -x", PYPI, ["one"], "one -x"),
        ("pipx run --spec one==1 two", PYPI, ["one==1"], "two"),
        ("npx -y @scope/server@1.2.0 stdio", NPM, ["@scope/server@1.2.0"], "server stdio"),
        ("npx server@^1", NPM, ["server@^1"], "server"),
        ("npx --yes -p @scope/server start --now", NPM, ["@scope/server"], "start --now"),
        ("npm exec -- server --flag", NPM, ["server"], "server --flag"),
    ],
)  # fmt: skip
def test_a_command_that_gets_its_package_tells_what_to_install_and_what_to_run(
    line: str, kind: SourceKind, packages: list[str], command: str
) -> None:
    found = server(*line.split())
    source = build_source(found)
    assert (source.kind, source.packages) == (kind, packages)
    assert command_in_image(found) == command.split()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("my-server --port 1", "the command 'my-server' is not known"),
        ("python -m server", "the command 'python' is not known"),
        ("uv run server.py", "the command 'uv' is not known"),
        ("uv run --with x server.py", "only the form without options"),
        ("uvx", "uvx has no package in its args"),
        ("uvx --python 3.12 server", "the option --python of uvx"),
        ("uvx --from git+https://git.example.com/x server", "'git+https://git.example.com/x' is no name"),
        ("uvx ./here", "'./here' is no name of a package"),
        ("uvx ${PACKAGE}", "is no name of a package"),
        ("npx -y ../here", "'../here' is no name of a package"),
        ("npx -c echo", "the option -c of npx"),
        ("npx https://git.example.com/x", "is no name of a package"),
    ],
)
def test_any_other_command_is_refused_with_the_field_and_an_example(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match="build of the server 'default' is needed") as refused:
        build_source(server(*line.split()))
    assert reason in str(refused.value)
    assert '"build": {"pypi": ["mcp-server-time==' in str(refused.value)


@pytest.mark.parametrize(
    ("build", "line", "command"),
    [
        ({"pypi": ["one==1"]}, "uvx one --flag", "one --flag"),
        ({"npm": ["@scope/one@1"]}, "npx -y @scope/one", "one"),
        ({"requirements": "one\n"}, "python -m one", "python -m one"),
        ({"git": {"url": "https://git.example.com/a.git"}}, "uv run one --flag", "one --flag"),
    ],
)
def test_what_is_told_counts_more_than_the_command(build: dict[str, Any], line: str, command: str) -> None:
    found = server(*line.split(), build=build)
    assert build_source(found).kind.value == next(iter(build))
    assert command_in_image(found) == command.split()


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        ({}, "needs exactly one of pypi, npm, requirements and git; found none of them"),
        ({"pypi": ["a"], "npm": ["b"]}, "found pypi and npm"),
        ({"pypi": []}, "at least 1 item"),
        ({"pypi": ["--index-url=x"]}, "should match pattern"),
        ({"pypi": ["a; echo"]}, "should match pattern"),
        ({"npm": ["a && b"]}, "should match pattern"),
        ({"npm": ["-g"]}, "should match pattern"),
        ({"requirements": "a @ https://${TOKEN}@x"}, "no secrets are given to a build"),
        ({"git": {"url": "git@git.example.com:a.git"}}, "must be an https:// address"),
        ({"git": {"url": "file:///etc"}}, "must be an https:// address"),
        ({"git": {"url": "https://user:word@git.example.com/a"}}, "must not hold a credential"),
        ({"git": {"url": "https://git.example.com/a", "ref": "--upload-pack=x"}}, "should match pattern"),
        ({"git": {"url": "https://git.example.com/a", "ref": "a:b"}}, "should match pattern"),
        ({"git": {"url": "https://git.example.com/a", "path": "a/../../b"}}, "inside the repository"),
        ({"git": {"url": "https://git.example.com/a", "path": "/etc"}}, "should match pattern"),
        ({"git": {"url": "https://git.example.com/a", "token": "plain"}}, "must be the name of a secret"),
        ({"ruby": ["a"]}, "Extra inputs are not permitted"),
    ],
)
def test_a_build_that_cannot_be_meant_so_is_refused(build: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        server("x", build=build)
    assert reason in str(refused.value)


def test_only_a_server_with_a_command_is_built() -> None:
    with pytest.raises(ValidationError, match="build makes the image of a server with a command"):
        ServerConfig.model_validate({"image": "a:1", "build": {"pypi": ["a"]}})


def test_nothing_comes_in_behind_the_end_of_a_name() -> None:
    with pytest.raises(ValueError, match="is no name of a package"):
        build_source(server("uvx", "a\n"))
    with pytest.raises(ValueError, match="is no name of a package"):
        build_source(server("npx", "a\n"))
    with pytest.raises(ValueError, match="is no name of a package"):
        build_source(server("uvx", "a\n==1"))
    for build in ({"pypi": ["a\n"]}, {"npm": ["a\n"]}, {"pypi": ["a\n==1"]}):
        with pytest.raises(ValidationError):
            server("a", build=build)
    for field in ({"token": "${A}\n"}, {"ref": "v1\n"}, {"path": "a\n"}):
        with pytest.raises(ValidationError):
            server("a", build={"git": {"url": "https://git.example.com/a.git"} | field})
    with pytest.raises(ValidationError):
        ServerConfig(command="a", env={"A\n": "b"})
    with pytest.raises(ValidationError):
        ServerConfig(url="https://a.example", headers={"A\n": "b"})
