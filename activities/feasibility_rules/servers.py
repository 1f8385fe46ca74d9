"""What speaks against the servers of a configuration, before anything of it runs."""

import re
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from activities.feasibility_rules.findings import Finding
from activities.feasibility_rules.texts import Text, described_dangers
from mcp_platform.addresses import refusal
from mcp_platform.contracts.analysis import PackageUse
from mcp_platform.contracts.evidence import SourceKind
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.formats.credentials import plain_credentials

_SHELLS = frozenset(
    {"sh", "bash", "zsh", "dash", "ash", "cmd", "cmd.exe", "powershell", "powershell.exe", "pwsh"}
)
_PIPED = re.compile(
    r"\b(curl|wget|iwr|invoke-webrequest)\b[^|;&]{0,300}(\||>)\s*(sudo\s+)?(ba|z|da)?sh\b"
    r"|\b(ba|z|da)?sh\s+(-c\s+)?[\"']?(<\(|\$\()\s*(curl|wget)|\biex\b|base64\s+(-d|--decode)[^|]{0,300}\|\s*(ba|z)?sh"
    r"|\b(curl|wget)\b[^;&]{0,300}(;|&&)\s*(sudo\s+)?(ba|z|da)?sh\b",
    re.IGNORECASE,
)
_DESTROYS = re.compile(
    r"\brm\s+-[a-z]*r[a-z]*f?[a-z]*\s+(--no-preserve-root\s+)?(/|~|\$HOME)(\s|$|\*)|\bmkfs\b|/dev/tcp/"
    r"|\bn(et)?c(at)?\s+(-\w+\s+)*-e\b|:\(\)\s*\{|\bdd\s+[^|;]{0,300}of=/dev/",
    re.IGNORECASE,
)
_FREE = re.compile(
    r"^--privileged$|docker\.sock|^(~|\$HOME|/:/?\S*|/(ro{2}t|etc|usr|var|proc|sys|home)?/?|C:\\)$|^(-v|--volume)=/:|^--dangerously|^--allow-all"
    r"|^--(pid|network|net|ipc)=host$|^--no-sandbox$",
    re.IGNORECASE,
)
_LONGEST_COMMAND = 20_000
_LOADERS = frozenset(
    {"LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "NODE_OPTIONS", "PYTHONSTARTUP", "PYTHONPATH"}
)
_TRUST_OFF = frozenset({"NODE_TLS_REJECT_UNAUTHORIZED", "PYTHONHTTPSVERIFY", "GIT_SSL_NO_VERIFY"})


def config_findings(config: McpConfig, packages: list[PackageUse]) -> Iterator[Finding]:
    """Find what speaks against a configuration as it is written."""
    for server in config.servers:
        yield from _credentials(server)
        if server.url is not None:
            yield from _address(server, server.url)
        elif server.image is not None:
            yield from _image(server, server.image)
        else:
            yield from _command(server)
        yield from _environment(server)
    for use in packages:
        yield from _unpinned(use)
    for tool in config.tools:
        where = f"the description of the tool {tool.name!r}"
        text = f"{tool.description}\n{_descriptions(tool.parameters)}"
        yield from described_dangers(Text(text, SourceKind.REQUEST, where))


def _descriptions(schema: object, depth: int = 0) -> str:
    """Give the texts within a schema: models read those of parameters too."""
    if depth > 20:
        return ""
    if isinstance(schema, dict):
        own = [
            value
            for key, value in schema.items()
            if key in {"description", "title"} and isinstance(value, str)
        ]
        return "\n".join([*own, *(_descriptions(value, depth + 1) for value in schema.values())])
    if isinstance(schema, list):
        return "\n".join(_descriptions(value, depth + 1) for value in schema)
    return ""


def schema_texts(schema: object) -> str:
    """Give the texts within a schema of a tool, which models read as they read its description."""
    return _descriptions(schema)


def _found(
    server: ServerConfig, rule: str, risk: str, cost: int, advice: str, *, stop: bool = False
) -> Finding:
    source = f"the server {server.name!r} of the configuration (rule {rule})"
    return Finding(rule, risk, SourceKind.REQUEST, source, cost, (advice,), stop)


def _credentials(server: ServerConfig) -> Iterator[Finding]:
    found = plain_credentials(server.model_dump(include={"env", "headers"}))
    if found:
        names = ", ".join(sorted(each.name for each in found))
        risk = f"The server {server.name!r} holds credentials in plain: {names}"
        yield _found(
            server, "plain_credentials", risk, 10, "Store them as secrets, and refer to them as ${NAME}"
        )


def _address(server: ServerConfig, url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    reason = refusal(host, private=True) if re.fullmatch(r"[\d.]+|[0-9a-f:.%]*:[0-9a-f:.%]*", host) else None
    if reason is not None:
        risk = f"The address of the server {server.name!r} is one that is never connected to: it {reason}"
        yield _found(server, "refused_address", risk, 40, "Give the public address of the server", stop=True)
    elif parts.scheme == "http" and host not in {"localhost", "127.0.0.1", "::1"}:
        risk = f"What is sent to the server {server.name!r} can be read and changed on its way: it has no TLS"
        yield _found(server, "no_tls", risk, 5, "Use its https:// address")
    if parts.username or parts.password:
        risk = f"The address of the server {server.name!r} holds a credential in plain"
        yield _found(server, "plain_credentials", risk, 10, "Send it in a header, as ${NAME}")


def _image(server: ServerConfig, image: str) -> Iterator[Finding]:
    tag = image.rpartition("/")[2].partition(":")[2]
    if "@sha256:" not in image and tag in {"", "latest"}:
        risk = f"The image of the server {server.name!r} is not pinned: what runs can change at any time"
        yield _found(server, "unpinned", risk, 3, "Pin the image by its digest, or by a version")


def _command(server: ServerConfig) -> Iterator[Finding]:
    whole = " ".join([server.command or "", *server.args])
    line = whole[:_LONGEST_COMMAND]
    if len(whole) > len(line):
        risk = f"The command of the server {server.name!r} is too long to be judged"
        yield _found(server, "endless_command", risk, 60, "Put what it does into a package", stop=True)
    if _PIPED.search(line):
        risk = f"The server {server.name!r} runs what it downloads, unseen"
        advice = "Run a published package with a pinned version instead"
        yield _found(server, "piped_download", risk, 60, advice, stop=True)
    if _DESTROYS.search(line):
        risk = f"The command of the server {server.name!r} destroys data or opens the machine to others"
        yield _found(server, "destructive_command", risk, 60, "Do not run this command", stop=True)
    program = PurePath((server.command or "").replace("\\", "/")).name.lower()
    if program in _SHELLS or program == "sudo":
        risk = f"The server {server.name!r} is started by {program}, which hides what really runs"
        yield _found(
            server, "shell_command", risk, 15, "Name the program itself as command, and its args one by one"
        )
    # The package itself may be a path; what follows is what it is let into.
    if any(_FREE.search(argument) for argument in server.args):
        risk = f"The arguments of the server {server.name!r} let it reach the whole machine"
        yield _found(server, "whole_machine", risk, 20, "Let it reach one folder, and nothing of its host")


def _environment(server: ServerConfig) -> Iterator[Finding]:
    if loaders := sorted(_LOADERS & server.env.keys()):
        risk = f"The environment of the server {server.name!r} changes what is loaded: {', '.join(loaders)}"
        yield _found(server, "loader_environment", risk, 20, "Leave these variables out")
    if off := sorted(_TRUST_OFF & server.env.keys()):
        risk = f"The server {server.name!r} is to accept every certificate: {', '.join(off)}"
        yield _found(server, "no_tls", risk, 5, "Trust the authority that is needed instead")


def _unpinned(use: PackageUse) -> Iterator[Finding]:
    if use.question.version is None and use.server is not None:
        name = use.question.name
        risk = f"The package {name} is not pinned: what runs can change at any time"
        source = f"the server {use.server!r} of the configuration (rule unpinned)"
        advice = (f"Pin the version of {name}",)
        yield Finding("unpinned", risk, SourceKind.REQUEST, source, 3, advice)
