"""What each role may do, and what each scope of an API key leaves of it."""

from collections.abc import Iterable

from mcp_platform.contracts.access import Permission, Role

_VIEWER = frozenset(
    {
        Permission.ACCOUNT,
        Permission.MCPS_READ,
        Permission.TASKS_READ,
        Permission.DEPLOYMENTS_READ,
        Permission.TOOLS_CALL,
        Permission.SECRETS_READ,
        Permission.KNOWLEDGE_READ,
        Permission.GROUPS_READ,
    }
)

_DEVELOPER = _VIEWER | {
    Permission.MCPS_WRITE,
    Permission.MCPS_DELETE,
    Permission.TASKS_CANCEL,
    Permission.ANALYSIS_RUN,
    Permission.DEPLOYMENTS_WRITE,
    Permission.SECRETS_WRITE,
    Permission.KNOWLEDGE_WRITE,
    Permission.GITHUB_READ,
    Permission.GITHUB_WRITE,
    Permission.GROUPS_WRITE,
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    # Anybody may register as a developer. A process replica runs commands as the platform's own user,
    # and a configuration sends what it refers to wherever its author likes: so process replicas and
    # shared secrets are for administrators, and for roles that they make.
    Role.ADMIN: frozenset(Permission),
}

_CHANGING = ("write", "delete", "cancel", "run", "process", "call")
_READ = frozenset(permission for permission in Permission if permission.endswith(":read"))
_WRITE = _READ | frozenset(
    permission
    for permission in Permission
    if permission.endswith(_CHANGING) and not permission.startswith("users:")
)

SCOPES: dict[str, frozenset[Permission]] = {
    "READ": _READ,
    "WRITE": _WRITE,
    "ADMIN": frozenset(Permission),
    **{permission.value: frozenset({permission}) for permission in Permission},
}
"""What the scopes of an API key stand for; its owner's permissions bound it all the same."""


_OF_ONE_MCP = frozenset(
    permission
    for permission in Permission
    if permission.startswith(("mcps:", "deployments:", "tools:")) or permission is Permission.TASKS_READ
)


def within_mcps(permissions: frozenset[Permission]) -> frozenset[Permission]:
    """Give what is left of these permissions to a key that is good for some MCPs alone."""
    return permissions & _OF_ONE_MCP


def within_scopes(permissions: frozenset[Permission], scopes: Iterable[str] | None) -> frozenset[Permission]:
    """Give what the scopes leave of these permissions. A scope that an older release knew leaves nothing."""
    if scopes is None:
        return permissions
    return permissions & frozenset().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))
