"""Reads the contract: its requests as they stand there, and the answers that it shows."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATH = Path(__file__).with_name("platform-api.md")
_SECTION = re.compile(r"^### (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@dataclass(frozen=True)
class Request:
    """A request of the document."""

    method: str
    path: str
    headers: dict[str, str]
    body: str | None


@dataclass(frozen=True)
class Section:
    """A request with the answer that the document promises."""

    title: str
    command: str
    answer: Any

    def request(self, replacements: Mapping[str, str]) -> Request:
        """Give the request, with what the document only stands for replaced by what there is."""
        text = self.command
        for standing, real in replacements.items():
            text = text.replace(standing, real)
        return _parse(text)


def sections() -> list[Section]:
    """Give every request of the document, in its order."""
    pieces = _SECTION.split(PATH.read_text())
    found = []
    for title, text in zip(pieces[1::2], pieces[2::2], strict=True):
        blocks = _BLOCK.findall(text.split("\n## ")[0])
        commands = [body for kind, body in blocks if kind == "bash" and "curl " in body]
        answers = [body for kind, body in blocks if kind == "json"]
        if commands:
            found.append(Section(title, commands[0], _json(answers[0]) if answers else None))
    return found


def code(title: str, language: str) -> str:
    """Give a program of the document."""
    pieces = _SECTION.split(PATH.read_text())
    text = dict(zip(pieces[1::2], pieces[2::2], strict=True))[title]
    return str(next(body for kind, body in _BLOCK.findall(text) if kind == language))


def differences(promised: Any, given: Any, place: str = "answer") -> list[str]:
    """Compare an answer with the promised one: every field, and the type of each value."""
    if isinstance(promised, dict):
        if not isinstance(given, dict):
            return [f"{place} is no object: {given!r}"]
        lacking = [f"{place}.{name} is missing" for name in promised if name not in given]
        return lacking + [
            found
            for name in promised
            if name in given
            for found in differences(promised[name], given[name], f"{place}.{name}")
        ]
    if isinstance(promised, list):
        if not isinstance(given, list):
            return [f"{place} is no list: {given!r}"]
        return [
            found
            for number, item in enumerate(given if promised else [])
            for found in differences(promised[0], item, f"{place}[{number}]")
        ]
    kind = _kind(promised)
    return [] if _kind(given) == kind else [f"{place} is no {kind}: {given!r}"]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        if _UUID.fullmatch(value):
            return "UUID"
        return "moment in UTC" if _MOMENT.fullmatch(value) else "text"
    return type(value).__name__


def _json(text: str) -> Any:
    return json.loads(text.replace("[...]", "[]").replace("{...}", "{}"))


def _parse(command: str) -> Request:
    words = shlex.split(command[command.index("curl ") :].replace("\\\n", " "))[1:]
    method, url, body, headers = "GET", "", None, {}
    options = iter(words)
    for word in options:
        if word == "-X":
            method = next(options)
        elif word == "-H":
            name, _, value = next(options).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(options).replace("[...]", "[]")
        else:
            url = word
    parts = urlsplit(url)
    return Request(method, parts.path + (f"?{parts.query}" if parts.query else ""), headers, body)
