"""`/api/v1/auth`, `/api/v1/users` and `/api/v1/roles`: who may come in, and what they may do."""

from api.v1.access import accounts, factors, grants, keys, roles, sessions, users

ROUTERS = tuple(part.router for part in (accounts, sessions, factors, keys, grants, users, roles))
