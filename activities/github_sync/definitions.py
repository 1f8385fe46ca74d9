"""Definitions of MCPs in a repository: which files they are, and what they say.

A file is data of whoever may push to the repository: it is read strictly, within bounds, and refused with
a reason rather than guessed at.
"""

from pathlib import PurePosixPath
from typing import Any, Final

from pydantic import ValidationError

from mcp_platform.contracts.exchange import ImportFile
from mcp_platform.contracts.mcps import CreateMcp
from mcp_platform.contracts.syncing import FoundDefinition, RefusedDefinition
from mcp_platform.formats.credentials import credential_places
from mcp_platform.formats.documents import Unreadable, read_json, read_yaml
from mcp_platform.formats.entries import Entry, NotImported, entries_of, slug_of

LARGEST: Final = 262_144
"""Bytes of a definition's file."""
MOST_FILES: Final = 100
"""Files with definitions in one repository."""
MOST_DEFINITIONS: Final = 200
"""Definitions in one repository."""

_NAMES: Final = frozenset({"mcp.json", ".mcp.json", "server.json", "mcp_settings.json"})
_FOLDER: Final = ".mcp"
_YAML: Final = (".yaml", ".yml")
_KINDS: Final = (".json", *_YAML)
LOOKED_FOR: Final = ", ".join([*sorted(_NAMES), *(f"{_FOLDER}/*{kind}" for kind in _KINDS)])
"""The files that are definitions, for a person."""
_NOT_OURS: Final = frozenset(
    {".git", ".venv", "venv", "node_modules", "site-packages", "third_party", "vendor"}
    | {"__fixtures__", "__tests__", "fixtures", "test", "testdata", "tests"}
)
"""Folders of what somebody else wrote, or of what tests play with."""
_FIRST_VERSION: Final = "1.0.0"
_OWN_FIELDS: Final = ("name", "slug", "description", "version", "tags", "config")
_LONGEST_REASON: Final = 500

Read = FoundDefinition | RefusedDefinition


def is_definition(path: str, below: str = "") -> bool:
    """Tell whether a file of a repository is a definition.

    Args:
        path: Of the file, from the repository's root.
        below: The connection's path: a folder, or the one file that counts.
    """
    if below and path == below:
        return path.endswith(_KINDS)
    if below and not path.startswith(f"{below}/"):
        return False
    inner = PurePosixPath(path[len(below) + 1 :] if below else path)
    if _NOT_OURS.intersection(inner.parts[:-1]):
        return False
    if inner.name in _NAMES:
        return True
    in_folder = PurePosixPath(path).parent.name == _FOLDER
    return in_folder and inner.suffix in _KINDS


def read_definitions(path: str, content: bytes) -> list[Read]:
    """Read a file's definitions: each of them is valid, or refused with the reason."""
    try:
        document = _document(path, content)
    except Unreadable as unreadable:
        return [_refused(path, "", None, str(unreadable))]
    if isinstance(document.get("config"), dict):
        return [_own(path, document)]
    if isinstance(document.get("servers"), list):
        reason = "servers is a list: put it into config, beside name and slug"
        return [_refused(path, "", None, reason)]
    try:
        file = ImportFile.model_validate(document)
    except ValidationError as error:
        return [_refused(path, "", None, problems(error))]
    if file.mcp_servers is None and file.servers is None and not (file.packages or file.remotes):
        reason = "it has none of config, mcpServers, servers, packages and remotes"
        return [_refused(path, "", None, reason)]
    several = file.mcp_servers is not None or file.servers is not None
    return [
        _foreign(path, key if several else "", entry, several=several)
        for key, entry in entries_of(file).items()
    ]


def written_entries(path: str, content: bytes) -> dict[str, Any]:
    """Give what a file with several definitions says of each, whether it is valid or not."""
    try:
        document = _document(path, content)
    except Unreadable:
        return {}
    groups = (document.get(name) for name in ("servers", "mcpServers"))
    return {key: entry for group in groups if isinstance(group, dict) for key, entry in group.items()}


def problems(error: ValidationError) -> str:
    """Say what is wrong, each with the field that it is about."""
    found = (f"{'.'.join(str(step) for step in item['loc'])}: {item['msg']}" for item in error.errors())
    return "; ".join(found)


def _document(path: str, content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST:
        raise Unreadable(f"has more than {LARGEST} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None
    document = read_yaml(text) if path.endswith(_YAML) else read_json(text)
    if not isinstance(document, dict):
        raise Unreadable("is no object")
    return document


def _own(path: str, document: dict[str, Any]) -> Read:
    """Read the platform's own format: the fields of `POST /api/v1/mcps`."""
    fields = {name: value for name, value in document.items() if name != "$schema"}
    name, slug = fields.get("name"), fields.get("slug")
    if not isinstance(slug, str):
        slug = slug_of(name) if isinstance(name, str) else ""
    given = {"name": slug, "version": _FIRST_VERSION, **fields, "slug": slug}
    if not slug:
        return _refused(path, "", None, "it has neither a slug nor a name to make one of")
    said = {name: fields.get(name) for name in _OWN_FIELDS if name not in ("slug", "config")}
    return _checked(path, "", given, said)


def _foreign(path: str, key: str, entry: Entry | NotImported, *, several: bool) -> Read:
    if isinstance(entry, NotImported):
        return _refused(path, key, None, str(entry))
    if not entry.slug:
        return _refused(path, key, None, "its name has no letters or digits to make a slug of")
    given = {
        "name": (entry.title or entry.name)[:255],
        "slug": entry.slug,
        "description": entry.description[:10_000],
        "version": entry.version,
        "config": entry.config,
    }
    said: dict[str, Any] = {}
    if not several:
        # A `server.json` says these of its server; of an entry of `mcpServers` nobody says them.
        said = {"name": given["name"], "description": given["description"], "version": entry.version}
    return _checked(path, key, given, said)


def _checked(path: str, entry: str, given: dict[str, Any], said: dict[str, Any]) -> Read:
    """Hold a definition against the rules for MCPs."""
    slug = given["slug"]
    try:
        order = CreateMcp.model_validate(given)
    except ValidationError as error:
        return _refused(path, entry, slug, problems(error))
    except RecursionError:
        return _refused(path, entry, slug, "is nested too deeply")
    config = order.config.model_dump(mode="json", exclude_unset=True)
    if places := credential_places(config):
        reason = (
            f"a credential stands in it in plain ({', '.join(places)}): a repository is no place for one;"
            " store it as a secret, put ${NAME} there, and have the credential replaced where it was issued"
        )
        return _refused(path, entry, slug, reason)
    return FoundDefinition(
        path=path,
        entry=entry,
        slug=slug,
        config=config,
        **{name: getattr(order, name) for name, value in said.items() if value is not None},
    )


def _refused(path: str, entry: str, slug: str | None, reason: str) -> RefusedDefinition:
    return RefusedDefinition(path=path, entry=entry, slug=slug, reason=reason[:_LONGEST_REASON])
