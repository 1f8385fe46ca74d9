"""`/api/v1/auth`, `/api/v1/users` and `/api/v1/roles`: who may come in, and what they may do."""

from fastapi import APIRouter

from api.v1.access import accounts, factors, keys, roles, sessions, users

router = APIRouter()
for _part in (accounts, sessions, factors, keys, users, roles):
    router.include_router(_part.router)

__all__ = ["router"]
