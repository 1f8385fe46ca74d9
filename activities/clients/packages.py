"""What package registries say of packages: PyPI by its JSON API, npm by a package's document.

Their documentation ("JSON API", "Package metadata") says what the answers look like. They are strangers'
words: every field is looked at before it is taken.
"""

import asyncio
import ssl
import time
from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from mcp_platform.check_settings import PackageSettings
from mcp_platform.contracts.base import Moment
from mcp_platform.contracts.checks import PackageFinding, PackageQuestion, Registry
from mcp_platform.packages import is_package_name, normal_name

_LARGEST: Final = 33_554_432
"""Bytes of one answer: a package of twenty years has thousands of files."""
_CHUNK: Final = 65_536
_KEPT: Final = 600.0
_MOST_KEPT: Final = 500
_LONGEST_TEXT: Final = 500
_LONGEST_LICENCE: Final = 100
_LICENCES: Final = "License :: OSI Approved :: "
_MOMENT: Final[TypeAdapter[datetime]] = TypeAdapter(Moment)


class _Away(Exception):
    """A registry cannot be asked; the message says why, without its address, which may have a credential."""


class PackageRegistries:
    """Asks PyPI and npm, and remembers for a while what they said.

    Args:
        settings: Where they are.
    """

    def __init__(self, settings: PackageSettings) -> None:
        self._bases = {
            Registry.PYPI: settings.pypi_url.get_secret_value().rstrip("/"),
            Registry.NPM: settings.npm_url.get_secret_value().rstrip("/"),
        }
        self._timeout = settings.timeout
        self._known: OrderedDict[tuple[Registry, str], tuple[float, dict[str, Any] | None]] = OrderedDict()
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            await self._http.close()

    async def look_up(self, question: PackageQuestion) -> PackageFinding:
        """Give what the registry says of a package; without an answer of it `exists` stays open."""
        registry, name = question.registry, question.name
        if not is_package_name(registry, name):
            reason = f"{name[:100]!r} is no name of a package"
            return PackageFinding(registry=registry, name=name, exists=False, reason=reason)
        try:
            document = await self._document(registry, name)
        except _Away as away:
            return PackageFinding(registry=registry, name=name, exists=None, reason=str(away))
        if document is None:
            reason = f"{registry} has no package {name}"
            return PackageFinding(registry=registry, name=name, exists=False, reason=reason)
        return (_read_pypi if registry is Registry.PYPI else _read_npm)(question, document)

    async def _document(self, registry: Registry, name: str) -> dict[str, Any] | None:
        """Give the package's document, one that was read lately too; None where there is none."""
        key = (registry, normal_name(name) if registry is Registry.PYPI else name)
        known = self._known.get(key)
        if known is not None and time.monotonic() - known[0] < _KEPT:
            return known[1]
        found = await self._fetch(registry, key[1])
        self._known[key] = (time.monotonic(), found)
        self._known.move_to_end(key)
        if len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)
        return found

    async def _fetch(self, registry: Registry, name: str) -> dict[str, Any] | None:
        base = self._bases[registry]
        path = f"/pypi/{quote(name)}/json" if registry is Registry.PYPI else f"/{quote(name, safe='@')}"
        host = urlsplit(base).hostname
        try:
            async with self._session().get(base + path, max_redirects=3) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise _Away(f"{registry} ({host}) answers with HTTP {response.status}")
                body = await _bounded(response)
        except TimeoutError:
            raise _Away(f"{registry} ({host}) did not answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _Away(f"{registry} ({host}) cannot be reached: {type(error).__name__}") from None
        if body is None:
            raise _Away(f"{registry} ({host}) says more of {name} than {_LARGEST} bytes")
        try:
            found = await asyncio.to_thread(_shortened, registry, body)
        except ValueError:
            raise _Away(f"{registry} ({host}) answers with what is no document of a package") from None
        return found

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=10, ssl=ssl.create_default_context()),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "mcp-platform", "Accept": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                # The proxies that pip and npm go through, too.
                trust_env=True,
            )
        return self._http


async def _bounded(response: aiohttp.ClientResponse) -> bytes | None:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > _LARGEST:
            return None
    return bytes(body)


def _shortened(registry: Registry, body: bytes) -> dict[str, Any]:
    """Read a document, and keep what is told of it: whole ones are megabytes."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("no object")
    return _short_pypi(found) if registry is Registry.PYPI else _short_npm(found)


def _short_pypi(document: dict[str, Any]) -> dict[str, Any]:
    info, releases = _object(document.get("info")), _object(document.get("releases"))
    if not isinstance(info.get("version"), str):
        raise ValueError("no version")
    versions = {}
    for version, files in releases.items():
        good = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
        if good:
            uploaded = [_text(file.get("upload_time_iso_8601")) for file in good]
            versions[version] = {
                "withdrawn": all(file.get("yanked") is True for file in good),
                "at": min(filter(None, uploaded), default=None),
            }
    classifiers = info.get("classifiers")
    return {
        "latest": info["version"],
        "versions": versions,
        "licence": _pypi_licence(info, classifiers if isinstance(classifiers, list) else []),
        "summary": _text(info.get("summary")),
    }


def _pypi_licence(info: dict[str, Any], classifiers: Iterable[Any]) -> str | None:
    # Core metadata 2.4 has an SPDX expression; before, the field could hold the licence's whole text.
    for given in (info.get("license_expression"), info.get("license")):
        if isinstance(given, str) and 0 < len(given.strip()) <= _LONGEST_LICENCE:
            return given.strip()
    named = (each for each in classifiers if isinstance(each, str) and each.startswith(_LICENCES))
    return next((each.removeprefix(_LICENCES)[:_LONGEST_LICENCE] for each in named), None)


def _short_npm(document: dict[str, Any]) -> dict[str, Any]:
    versions, times = _object(document.get("versions")), _object(document.get("time"))
    latest = _object(document.get("dist-tags")).get("latest")
    if not isinstance(latest, str) or not versions:
        raise ValueError("no version")
    newest = _object(versions.get(latest))
    licence = newest.get("license")
    if isinstance(licence, dict):
        licence = licence.get("type")
    return {
        "latest": latest,
        "versions": {
            version: {"withdrawn": bool(_object(each).get("deprecated")), "at": _text(times.get(version))}
            for version, each in versions.items()
        },
        "licence": _text(licence, _LONGEST_LICENCE),
        "summary": _text(newest.get("description")),
    }


def _read_pypi(question: PackageQuestion, document: dict[str, Any]) -> PackageFinding:
    return _finding(question, document, {_release(version): version for version in document["versions"]})


def _read_npm(question: PackageQuestion, document: dict[str, Any]) -> PackageFinding:
    return _finding(question, document, {version: version for version in document["versions"]})


def _finding(question: PackageQuestion, document: dict[str, Any], known: dict[str, str]) -> PackageFinding:
    asked = question.version
    if asked is not None and question.registry is Registry.PYPI:
        asked = _release(asked)
    latest = document["latest"]
    version = known.get(asked) if asked is not None else latest
    told = document["versions"]
    missing = f"{question.registry} has no version {question.version} of {question.name}"
    return PackageFinding(
        registry=question.registry,
        name=question.name,
        exists=True,
        version=version if question.version is not None else None,
        latest=latest,
        released_at=_moment(told.get(latest, {}).get("at")),
        licence=document["licence"],
        summary=document["summary"],
        withdrawn=bool(told.get(version, {}).get("withdrawn")),
        reason=missing if version is None else None,
    )


def _release(version: str) -> str:
    """Give one spelling of a version: `1.0` and `1.0.0` are the same (PEP 440)."""
    plain = version.strip().lower().removeprefix("v")
    while plain.endswith(".0") and plain.count(".") > 0:
        plain = plain[:-2]
    return plain


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int = _LONGEST_TEXT) -> str | None:
    return value.strip()[:longest] or None if isinstance(value, str) else None


def _moment(value: str | None) -> datetime | None:
    try:
        return _MOMENT.validate_python(value) if value else None
    except ValidationError:
        return None
