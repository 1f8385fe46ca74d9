"""The embedding model that ships in a package; it is loaded when it is first used."""

import asyncio
import threading
from collections.abc import Sequence
from functools import cache as once
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final

from storage.knowledge.models import Vectors, normalised

BUILT_IN: Final = "wordllama"

_loading = threading.Lock()


class BuiltInModel:
    """wordllama: 256 dimensions, its weights in the package, thousands of texts a second."""

    name = BUILT_IN

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Give a row for each text."""
        return await asyncio.to_thread(embed_built_in, list(texts))

    async def embed_query(self, text: str) -> Vectors:
        """Give the vector of a query."""
        rows: Vectors = (await self.embed([text]))[0]
        return rows

    async def close(self) -> None:
        """Leave it loaded: the process has one for all."""


def embed_built_in(texts: list[str]) -> Vectors:
    """Give a row for each text; what calls it waits, the first time until the model is loaded."""
    with _loading:
        model = _built_in()
    # The model's own normalisation divides by zero where a text has no known word.
    return normalised(model.embed(texts, norm=False))


@once
def _built_in() -> Any:
    package = resolve_name("wordllama")
    # Told where its weights lie, and not to look for newer ones on the network.
    return package.WordLlama.load(cache_dir=Path(package.__file__).parent, disable_download=True)
