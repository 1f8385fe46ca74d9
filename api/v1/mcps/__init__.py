"""`/api/v1/mcps`: registering, changing, exchanging and removing MCPs."""

from fastapi import APIRouter

from api.v1.mcps import deletion, entries, exchange, history

router = APIRouter()
# Paths of one word come before those with an id in their place.
for part in (exchange.router, entries.router, history.router, deletion.router):
    router.include_router(part)
