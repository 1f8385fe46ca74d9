"""What the tests of the knowledge base do again and again."""

from typing import Any

from tests.platform import Caller
from tests.waiting import eventually


async def add(caller: Caller, title: str, content: str, **metadata: Any) -> str:
    """Add a document; its id."""
    order = {"title": title, "content": content, "metadata": metadata}
    answer = await caller.post("/api/v1/knowledge/documents", json=order)
    assert answer.status_code == 201, answer.text
    document_id: str = answer.json()["document_id"]
    return document_id


async def indexed(caller: Caller, document_id: str) -> dict[str, Any]:
    """Wait until a document is indexed, and read it."""

    async def read() -> dict[str, Any]:
        answer = await caller.get(f"/api/v1/knowledge/documents/{document_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return await eventually(read, lambda seen: seen["indexing"] == "done")


async def search(caller: Caller, query: str, **order: Any) -> dict[str, Any]:
    """Search once."""
    answer = await caller.post("/api/v1/knowledge/search", json={"query": query, **order})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    """Give the ids of the documents that were found, the best first."""
    return [result["document_id"] for result in found["results"]]


async def found_by(caller: Caller, document_id: str, query: str, **order: Any) -> dict[str, Any]:
    """Wait until a search finds a document, and give what it shows of it."""
    seen = await eventually(
        lambda: search(caller, query, limit=50, **order), lambda seen: document_id in ids(seen)
    )
    result: dict[str, Any] = seen["results"][ids(seen).index(document_id)]
    return result


async def lost_to(caller: Caller, document_id: str, query: str, **order: Any) -> None:
    """Wait until a search does not find a document any more."""
    await eventually(
        lambda: search(caller, query, limit=50, **order), lambda seen: document_id not in ids(seen)
    )
