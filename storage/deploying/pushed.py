"""What a push may change of what runs: whoever can push is not who deploys."""

import re
from typing import Any, Final

from mcp_platform.build_sources import launched_package
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.variables import references

BY_HAND: Final = "deploy it once by hand"
"""What the owner can do; pushes may go on from there."""

_PACKAGE = re.compile(r"(.+?)(?:(?:==|@)\d[0-9A-Za-z.+!-]*)?")
_IMAGE = re.compile(r"(.+?)(?::[0-9A-Za-z_][0-9A-Za-z_.-]*)?(?:@sha256:[0-9a-f]{64})?")


class Runs:
    """What a deployment runs, or a push would have it run.

    Args:
        config: The MCP's configuration.
        server: Which of its servers; without a name, the only one.
        driver: What runs it.

    Raises:
        ValueError: The configuration has no such server.
    """

    def __init__(self, config: McpConfig, server: str | None, driver: Driver) -> None:
        self.server = config.server(server)
        self.driver = driver
        requests = [tool.request for tool in config.tools if tool.request and self.server.is_rest]
        self._parts = {**self.server.model_dump(), "requests": [request.model_dump() for request in requests]}
        self.names = references(self._parts)

    def changed_from(self, before: "Runs | None") -> list[str]:
        """Name the parts that are another than before, by more than a pinned version."""
        then = before._fixed if before else {}
        now = self._fixed
        return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))

    @property
    def _fixed(self) -> dict[str, Any]:
        """All of it but for the version of its package or image."""
        fixed = dict(self._parts)
        if self.server.image is not None:
            fixed["image"] = _without(_IMAGE, self.server.image)
        elif launched := launched_package(self.server):
            package = _without(_PACKAGE, launched[1])
            words = ((arg, _without(_PACKAGE, arg)) for arg in self.server.args)
            fixed["args"] = [package if bare == package else arg for arg, bare in words]
        return fixed


def objection(before: Runs | None, after: Runs, authorized: bool = False) -> str | None:
    """Say why a push may not have this run; None if it may.

    A push could send the owner's secrets to a server of its author's, and a command that no container
    holds could do anything: both stay as somebody has deployed them by hand, but for a pinned version.

    Args:
        before: What is deployed now, if anything is.
        after: What the push would have run.
        authorized: Whether the platform sends tokens to the MCP's server.
    """
    process = after.driver is Driver.PROCESS
    if process and (before is None or before.driver is not Driver.PROCESS):
        return f"a push starts no command with the process driver; {BY_HAND}"
    added = _named(after.names - (before.names if before else set()))
    if added:
        return f"it refers to {', '.join(added)}, which what is deployed does not; {BY_HAND}"
    sent = _named(after.names) + (["what the server was authorized with"] if authorized else [])
    if not process and not sent:
        return None
    changed = after.changed_from(before)
    if not changed:
        return None
    what = f"it changes {', '.join(changed)} by more than the version of a package or an image"
    if sent:
        return f"{what}, and could send {', '.join(sent)} to somebody else; {BY_HAND}"
    return f"{what}, of a command that the process driver runs; {BY_HAND}"


def _named(names: set[str]) -> list[str]:
    return [f"${{{name}}}" for name in sorted(names)]


def _without(pattern: re.Pattern[str], text: str) -> str:
    """Give a package or an image without its version."""
    match = pattern.fullmatch(text)
    return match[1] if match else text
