"""Accounts, roles, sessions, API keys, second factors, and the failures of signing in."""

from storage.sql.access.accounts import Account, UserRepository
from storage.sql.access.factors import Factor, FactorRepository
from storage.sql.access.failures import FailureRepository, Limit
from storage.sql.access.keys import ApiKeyRepository, KeyOwner
from storage.sql.access.roles import RoleRepository
from storage.sql.access.sessions import RefreshTokenRepository, SessionOwner, Spending

__all__ = [
    "Account",
    "ApiKeyRepository",
    "Factor",
    "FactorRepository",
    "FailureRepository",
    "KeyOwner",
    "Limit",
    "RefreshTokenRepository",
    "RoleRepository",
    "SessionOwner",
    "Spending",
    "UserRepository",
]
