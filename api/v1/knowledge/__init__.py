"""`/api/v1/knowledge`: documents, and searching them."""

from fastapi import APIRouter

from api.v1.knowledge import documents, search, uploads

router = APIRouter(prefix="/knowledge", tags=["Knowledge base"])
router.include_router(search.router)
router.include_router(uploads.router)
router.include_router(documents.router)

__all__ = ["router"]
