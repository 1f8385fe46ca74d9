"""What is wrong with the servers of a configuration, and with the packages that they run."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from activities.improvements.facts import Facts, Finding, Package
from activities.improvements.texts import listed, short
from mcp_platform.config_patches import Patch, pointer
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.improvements import Category, Severity
from mcp_platform.contracts.mcps import ServerConfig
from mcp_platform.formats.credentials import credential_places, plain_credentials
from mcp_platform.packages import pinned_to

_OLD: Final = 2.0
"""Years without a release."""
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def server_findings(facts: Facts) -> Iterator[Finding]:
    """Look at the configuration, without what it says of tools."""
    yield from _credentials(facts)
    for number, server in enumerate(facts.config.servers):
        yield from _address(facts, server)
        yield from _image(facts, server)
        yield from _health(facts, server, number)
    for package in facts.packages:
        yield from _package(facts, package)


def _seen(facts: Facts, statement: str) -> list[Evidence]:
    source = f"mcp:{facts.mcp.slug} {facts.mcp.version}"
    return [Evidence(statement=statement, kind=SourceKind.MCP, source=source)]


def _credentials(facts: Facts) -> Iterator[Finding]:
    patched: set[str] = set()
    for number, server in enumerate(facts.raw.get("servers", [])):
        for found in plain_credentials(server):
            place = f"servers.{number}.{found.field}.{found.name}"
            patched.add(place)
            name = next(found.secret_names(facts.mcp.slug))
            path = pointer("servers", number, found.field, found.name)
            yield Finding(
                f"plain-credential-{found.field}-{found.name}",
                f"server:{server.get('name', 'default')}",
                f"Store {short(found.name, 80)} as a secret",
                Severity.HIGH,
                Category.SECRETS,
                "It looks like a credential, and everybody who may read the MCP reads it, its history too."
                f" Make a new one, store it (PUT /api/v1/secrets/{name}), then apply this: it refers to it.",
                _seen(facts, f"{place} is written in plain"),
                [{"op": "replace", "path": path, "value": f"${{{name}}}"}],
            )
    if rest := [place for place in credential_places(facts.raw) if place not in patched]:
        yield Finding(
            "plain-credentials",
            "config",
            "Take credentials out of the configuration",
            Severity.HIGH,
            Category.SECRETS,
            f"There is what looks like a credential at {listed(rest)}, and everybody who may read the MCP"
            " reads it: make new ones, store them as secrets, and write ${NAME} there.",
            _seen(facts, f"{listed(rest)}: written in plain"),
        )


def _address(facts: Facts, server: ServerConfig) -> Iterator[Finding]:
    parts = urlsplit(server.url or "")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        yield Finding(
            "unencrypted-address",
            f"server:{server.name}",
            f"Reach {short(server.name, 80)} by https",
            Severity.MEDIUM,
            Category.CONFIGURATION,
            "Its address begins with http://: whoever is on the way reads calls and credentials, and can"
            " change what the tools say.",
            _seen(facts, f"the address of {short(server.name, 80)} begins with http://"),
        )


def _image(facts: Facts, server: ServerConfig) -> Iterator[Finding]:
    if server.image is None or "@" in server.image:
        return
    tag = server.image.rpartition("/")[2].partition(":")[2]
    if tag in {"", "latest"}:
        yield Finding(
            "unpinned-image",
            f"server:{server.name}",
            f"Pin the image of {short(server.name, 80)}",
            Severity.LOW,
            Category.PACKAGE,
            "It names no version, so that each start may run another one: name a tag, or better a digest.",
            _seen(facts, f"the image is {short(server.image)}"),
        )


def _health(facts: Facts, server: ServerConfig, number: int) -> Iterator[Finding]:
    if server.is_rest and server.health_path is None:
        yield Finding(
            "missing-health-check",
            f"server:{server.name}",
            "Name a path that tells whether the API lives",
            Severity.LOW,
            Category.DEPLOYMENT,
            "Without health_path its address itself is asked, which may answer while the API is broken, or"
            " cost more than a check should.",
            _seen(facts, f"servers.{number} has no health_path"),
        )


def _package(facts: Facts, package: Package) -> Iterator[Finding]:
    found, name = package.finding, package.finding.name
    told = f"{found.registry}:{name}{f' {found.latest}' if found.latest else ''}"
    target = f"server:{package.server}"
    if found.exists is False:
        said = found.reason or f"{found.registry} has no package {name}"
        yield Finding(
            "package-missing",
            target,
            f"{name} does not exist",
            Severity.HIGH,
            Category.PACKAGE,
            "Its registry has no package of this name: the server cannot start anew, and whoever registers"
            " the name decides what it runs then.",
            [Evidence(statement=said, kind=SourceKind.REGISTRY, source=told)],
        )
    if not found.exists or found.latest is None:
        return
    if wrong := _wrong_version(package, found.latest):
        title, severity, reason, said = wrong
        yield Finding(
            "package-version",
            target,
            title,
            severity,
            Category.PACKAGE,
            reason,
            [Evidence(statement=said, kind=SourceKind.REGISTRY, source=told)],
            _pin(facts, package, found.latest),
        )
    yield from _age(package, target, told)


def _wrong_version(package: Package, latest: str) -> tuple[str, Severity, str, str] | None:
    """Give title, severity, reason and evidence, unless the latest version is pinned."""
    found, asked, name = package.finding, package.question.version, package.finding.name
    if asked is not None and found.version is None:
        reason = f"{asked} is not in the registry, so the server cannot start; the latest is {latest}."
        return "Pin a version that exists", Severity.HIGH, reason, f"there is no {name} {asked}"
    if found.withdrawn:
        said = f"{name} {found.version or latest} was yanked or deprecated"
        title = f"Leave a version of {name} that was withdrawn"
        return title, Severity.HIGH, f"Its authors took it back; the latest is {latest}.", said
    if asked is None:
        reason = "Each start may run another version, which nobody here has tried."
        return f"Pin {name} to {latest}", Severity.LOW, reason, f"{name} is asked for without a version"
    if found.version == latest:
        return None
    severity = Severity.MEDIUM if _major(asked) != _major(latest) else Severity.LOW
    reason = f"It is pinned to {asked}, and {latest} is published. Try it before you roll it out."
    return f"Update {name} to {latest}", severity, reason, f"{latest} is the latest; {asked} is pinned"


def _pin(facts: Facts, package: Package, version: str) -> Patch | None:
    for number, server in enumerate(facts.config.servers):
        if server.name == package.server and (found := pinned_to(server, package.question, version)):
            place, text = found
            return [{"op": "replace", "path": pointer("servers", number, *place), "value": text}]
    return None


def _age(package: Package, target: str, told: str) -> Iterator[Finding]:
    released = package.finding.released_at
    years = (datetime.now(UTC) - released).days / 365.25 if released else 0.0
    if years >= _OLD:
        statement = f"the latest release is from {released:%Y-%m-%d}"
        yield Finding(
            "package-unmaintained",
            target,
            f"See whether {package.finding.name} is still maintained",
            Severity.INFO,
            Category.PACKAGE,
            f"Nothing was released for {years:.0f} years: holes that were found since are not mended.",
            [Evidence(statement=statement, kind=SourceKind.REGISTRY, source=told)],
        )


def _major(version: str) -> str:
    return version.lstrip("v").partition(".")[0]
