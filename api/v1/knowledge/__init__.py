"""`/api/v1/knowledge`: documents, and searching them."""

from api.v1.knowledge import documents, search, uploads

ROUTERS = (search.router, documents.router, uploads.router)
