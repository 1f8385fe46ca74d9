"""Credentials that stand in a configuration in plain."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

_SUSPECT = re.compile(r"key|token|secret|password|passwd|credential|authorization|cookie", re.IGNORECASE)


@dataclass(frozen=True)
class PlainCredential:
    """A value that looks like a credential by the name of its place."""

    field: Literal["env", "headers"]
    name: str
    value: str

    def secret_names(self, slug: str) -> Iterator[str]:
        """Give names for the secret to take its place, the best first."""
        own = f"{slug}_{self.name}"
        for name in (self.name, own) if self.field == "env" else (own,):
            yield _as_name(name if name == self.name else name.upper())


def plain_credentials(server: dict[str, Any]) -> list[PlainCredential]:
    """Find them in an entry of `config.servers`."""
    return [
        PlainCredential(field, name, value)
        for field in ("env", "headers")
        for name, value in server.get(field, {}).items()
        if _SUSPECT.search(name) and value and "${" not in value
    ]


def _as_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)[:128]
    return f"_{name}"[:128] if name[:1].isdigit() else name
