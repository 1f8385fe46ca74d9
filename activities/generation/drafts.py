"""Drafts: what a known server, a model's answer, a document or a repository makes of itself."""

import json
import re
from typing import Any, Final

from pydantic import ValidationError

from activities.generation.credentials import hide
from activities.generation.repositories import GIT_TOKEN, Found, Repository, runs_anywhere
from activities.generation.words import in_chinese, name_from, slug_from
from mcp_platform.contracts.checks import Registry
from mcp_platform.contracts.config_drafts import ConfigDraft, DraftServer, checked_variable
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.exchange import Skipped
from mcp_platform.contracts.generation import (
    Answer,
    Checked,
    Draft,
    DraftKnown,
    Wish,
)
from mcp_platform.contracts.known import KnownMatch
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.formats.credentials import credential_places
from mcp_platform.formats.openapi import Choice, NoOpenApi, read_document, read_openapi
from mcp_platform.known_servers import is_trusted
from mcp_platform.packages import package_of

LARGEST: Final = 400_000
"""Bytes of a configuration that a task's result may have."""
_PRIVATE: Final = (
    "The repository is private: only a deployment whose image is built gets its files, with the secret"
    f" {GIT_TOKEN}."
)
_ONLY_BUILT: Final = "It runs files of the repository, which only a deployment whose image is built has."
_MOST_PLACES: Final = 10
_MOST_SKIPPED: Final = 100
_LONGEST_SOURCE: Final = 200
_LONGEST_DESCRIPTION: Final = 2_000
_LONGEST_PROBLEM: Final = 2_000
STRANGERS: Final = frozenset({SourceKind.REPOSITORY, SourceKind.KNOWLEDGE, SourceKind.MODEL})
"""Where configurations come from that neither the caller nor we wrote."""

Drafted = tuple[Draft, dict[str, Any]]
"""A draft, and the configuration that is to be stored under its key."""


class TooLarge(ValueError):
    """A configuration is larger than a result may be; the message says what to do."""


def from_known(order: DraftKnown, wish: Wish) -> Drafted:
    """Draft a known server as it stands in the catalogue."""
    server = order.match.server
    source, config = f"catalogue:{server.slug}", server.config()
    description, explanation = _introduced(order.match, chinese=in_chinese(wish))
    warnings = []
    if not order.match.sure and order.model is None:
        warnings.append(f"It is not certain that {server.name} is what is wanted; see the alternatives.")
    if server.archived:
        warnings.append(f"{server.name} is archived by its authors: faults that are found stay in it.")
    if server.origin != "shipped":
        warnings.append("It is from the official registry; nobody of the platform has tried it before.")
    draft = Draft(
        key=draft_key(order.task_id, order.number),
        origin=SourceKind.CATALOGUE,
        source=source,
        label=f"the known server {server.slug}",
        name=name_from(wish.name or "", server.name),
        slug=wish.slug or slug_from(wish.name or "", server.slug),
        description=description[:_LONGEST_DESCRIPTION],
        explanation=order.explanation or explanation,
        secrets={each.name: each.what for each in server.secrets if each.required},
        tools=[tool.name for tool in server.tools],
        trusted=is_trusted(ServerConfig.model_validate(config["servers"][0])),
        shipped=server.origin == "shipped",
        call=server.example,
        warnings=warnings,
        evidence=[
            Evidence(
                statement=f"{server.name} is known: {server.description}",
                kind=SourceKind.CATALOGUE,
                source=source,
            ),
            *_chosen_by(order.model, f"It chose {server.slug} among the known servers"),
            *(_told_of(wish) if order.model is not None else []),
        ],
        engine="rules" if order.model is None else "model",
        known=server.slug,
    )
    return draft, config


def from_answer(order: Answer, wish: Wish) -> Drafted | DraftKnown:
    """Draft what a model answered: a server of its own, or a known one.

    Raises:
        ValueError: It names a known server that it was not told of.
    """
    answer = ConfigDraft.model_validate(order.answer)
    if answer.known is not None:
        for match in order.matches:
            if match.server.slug == answer.known:
                return DraftKnown(
                    task_id=order.task_id,
                    number=order.number,
                    match=match,
                    explanation=answer.explanation,
                    model=order.model,
                )
        raise ValueError(f"there is no known server {answer.known!r} among those that were told")
    if answer.server is None:
        raise ValueError("it names no server")
    server = _entry(answer.slug, answer.server)
    secrets = {each.name: each.what for each in answer.server.secrets}
    if answer.server.bearer_secret:
        secrets.setdefault(answer.server.bearer_secret, "The bearer token of the remote server")
    draft = Draft(
        key=draft_key(order.task_id, order.number),
        origin=SourceKind.MODEL,
        source=f"model:{order.model}",
        label=f"the model's draft ({answer.server.package or answer.server.url})",
        name=name_from(wish.name or "", answer.name),
        slug=wish.slug or slug_from(wish.name or "", answer.slug),
        description=answer.description,
        explanation=answer.explanation,
        secrets=secrets,
        evidence=[*_chosen_by(order.model, "It wrote the configuration"), *_told_of(wish)],
        engine="model",
    )
    return _without_credentials(draft, {"servers": [server]})


def from_openapi(task_id: str, wish: Wish) -> Drafted:
    """Draft an API: one tool for each operation of its document.

    Raises:
        NoOpenApi: The document makes no MCP; the message says why.
        TooLarge: It makes one that is too large for a result.
    """
    if wish.openapi is None:
        raise NoOpenApi("is not there")
    document = read_document(wish.openapi)
    info = document.get("info")
    words = info if isinstance(info, dict) else {}
    slug = wish.slug or slug_from(wish.name or "", str(words.get("title") or ""))
    reading = read_openapi(document, wish.base_url, Choice(), slug)
    tools = [tool["name"] for tool in reading.config["tools"]]
    if len(json.dumps(reading.config)) > LARGEST:
        raise TooLarge(
            f"makes a configuration of more than {LARGEST} bytes, of {len(tools)} tools;"
            " POST /api/v1/mcps/import/openapi takes it, and can choose operations by tags"
        )
    source = f"openapi:{reading.title} {words.get('version') or ''}".strip()[:_LONGEST_SOURCE]
    statement = f"The document describes {len(tools)} operations that can be tools"
    skipped = list(reading.skipped.items())[:_MOST_SKIPPED]
    draft = Draft(
        key=draft_key(task_id, 0),
        origin=SourceKind.REQUEST,
        source=source,
        label="the OpenAPI document",
        name=name_from(wish.name or "", reading.title),
        slug=slug,
        description=reading.description[:_LONGEST_DESCRIPTION],
        explanation=f"Each operation of {reading.title} is a tool of its own.",
        secrets=reading.secrets,
        tools=tools,
        evidence=[Evidence(statement=statement, kind=SourceKind.REQUEST, source=source)],
        skipped=[Skipped(name=name, reason=reason) for name, reason in skipped],
    )
    return draft, reading.config


def from_found(task_id: str, number: int, wish: Wish, repository: Repository, found: Found) -> Drafted:
    """Draft what a file of a repository says."""
    source = f"{repository.url}@{repository.commit}:{found.file}"
    title = name_from(wish.name or "", found.name, repository.name)
    description = found.description or repository.description
    built = [server for server in _servers(found.config) if "build" in server]
    private = repository.private and bool(built)
    only_built = not all(runs_anywhere(server) for server in built)
    draft = Draft(
        key=draft_key(task_id, number),
        origin=SourceKind.REPOSITORY,
        source=source,
        label=found.how,
        name=title,
        slug=wish.slug or slug_from(wish.name or "", found.name, repository.name),
        description=description[:_LONGEST_DESCRIPTION],
        explanation=f"Made of {found.how}, as the repository has it at {repository.commit[:12]}.",
        secrets=found.secrets | ({GIT_TOKEN: "A token that may read the repository"} if private else {}),
        warnings=[_PRIVATE] if private else [_ONLY_BUILT] if only_built else [],
        out_of_reach=private or only_built,
        evidence=[
            Evidence(
                statement=f"{found.file} says how the server is started or reached",
                kind=SourceKind.REPOSITORY,
                source=source,
            )
        ],
    )
    return _without_credentials(draft, found.config)


def check(draft: Draft, config: dict[str, Any]) -> Checked:
    """Hold a configuration against the rules for MCPs, and for what strangers may say."""
    if len(json.dumps(config)) > LARGEST:
        return Checked(problem=f"it has more than {LARGEST} bytes")
    try:
        valid = McpConfig.model_validate(config)
    except ValidationError as error:
        return Checked(problem=problems_of(error))
    if not valid.servers:
        return Checked(problem="it has no servers")
    if draft.origin in STRANGERS:
        try:
            for server in valid.servers:
                for name in server.env:
                    checked_variable(name)
        except ValueError as error:
            return Checked(problem=str(error))
    if places := credential_places(config):
        return Checked(problem=f"a credential stands in it in plain: {', '.join(places[:_MOST_PLACES])}")
    packages = [package for server in valid.servers if (package := package_of(server)) is not None]
    return Checked(packages=packages, servers=[server.name for server in valid.servers])


def problems_of(error: ValidationError) -> str:
    """Say what is wrong, each with the field that it is about."""
    found = (f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors())
    return "; ".join(found)[:_LONGEST_PROBLEM]


def draft_key(task_id: str, number: int) -> str:
    """Give the key of a draft's configuration."""
    return f"{task_id}/{number}"


def _introduced(match: KnownMatch, *, chinese: bool) -> tuple[str, str]:
    """Say what a known server does, and what speaks for it, in the language of the request."""
    server, words = match.server, match.why[:8]
    if chinese and server.description_zh:
        because = f"与需求相符的词有 {'、'.join(words)}。" if words else ""
        return server.description_zh, f"{server.name} 是已知的 MCP 服务器。{server.description_zh}{because}"
    because = f" What speaks for it: {', '.join(words)}." if words else ""
    return server.description, f"{server.name} is a known MCP server: {server.description}{because}"


def _entry(slug: str, server: DraftServer) -> dict[str, Any]:
    """Write a model's server as an entry of `config.servers`."""
    entry: dict[str, Any] = {"name": slug}
    env = server.env | {each.name: f"${{{each.name}}}" for each in server.secrets}
    if server.url is not None:
        entry["url"] = server.url
        if server.bearer_secret:
            entry["headers"] = {"Authorization": f"Bearer ${{{server.bearer_secret}}}"}
        return entry
    package = server.package or ""
    if server.registry is Registry.PYPI:
        asked = f"{package}=={server.version}" if server.version else package
        short = re.split(r"\[", package, maxsplit=1)[0]
        plain = asked == package == short and server.program in (None, short)
        launch = [package] if plain else ["--from", asked, server.program or short]
        entry |= {"command": "uvx", "args": [*launch, *server.args]}
    else:
        asked = f"{package}@{server.version}" if server.version else package
        short = package.rpartition("/")[2]
        launch = ["-y", asked]
        if server.program not in (None, short):
            launch = ["-y", f"--package={asked}", server.program or short]
        entry |= {"command": "npx", "args": [*launch, *server.args]}
    if env:
        entry["env"] = env
    return entry


def _without_credentials(draft: Draft, config: dict[str, Any]) -> Drafted:
    """Put `${NAME}` in the place of what stands in plain in it, and say so."""
    secrets, places = dict(draft.secrets), []
    for server in _servers(config):
        hidden = hide(server, draft.slug)
        places += hidden.plain
        for name, what in hidden.secrets.items():
            secrets.setdefault(name, what)
    warnings = list(draft.warnings)
    if places:
        warnings.append(
            f"A credential stood in plain at its source ({', '.join(places[:_MOST_PLACES])}); ${{NAME}} took"
            " its place. Whoever issued it should replace it."
        )
    return draft.model_copy(update={"secrets": secrets, "warnings": warnings}), config


def _servers(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the entries that are any: the schema tells of the others later."""
    servers = config.get("servers")
    return [each for each in servers if isinstance(each, dict)] if isinstance(servers, list) else []


def _chosen_by(model: str | None, statement: str) -> list[Evidence]:
    return [Evidence(statement=statement, kind=SourceKind.MODEL, source=f"model:{model}")] if model else []


def _told_of(wish: Wish) -> list[Evidence]:
    """Name the documents that a model was told of."""
    return [
        Evidence(
            statement=f"The model was told of “{each.title}”",
            kind=SourceKind.KNOWLEDGE,
            source=f"knowledge:{each.document_id}",
        )
        for each in wish.background
    ]
