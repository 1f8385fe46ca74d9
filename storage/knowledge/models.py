"""What the knowledge base asks of an embedding model."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class EmbeddingModel(Protocol):
    """Makes vectors of texts: those of like meaning point in like directions."""

    @property
    def name(self) -> str:
        """What its vectors are stored under."""
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Give a row of length 1 for each passage; of a text without meaning, zeros.

        Raises:
            Unavailable: The model cannot be reached, or refuses.
        """
        ...

    async def embed_query(self, text: str) -> Vectors:
        """Give the one vector of a query, sooner or not at all: somebody waits.

        Raises:
            Unavailable: The model cannot be reached, or refuses.
        """
        ...

    async def close(self) -> None:
        """Close its connections."""
        ...


def normalised(rows: Vectors) -> Vectors:
    """Give the rows with length 1; zeros, and what is no number, become zeros."""
    clean = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(clean, axis=1, keepdims=True)
    result: Vectors = np.divide(clean, lengths, out=np.zeros_like(clean), where=lengths > 0)
    return result
