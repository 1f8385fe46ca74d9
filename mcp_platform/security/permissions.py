"""What each role may do."""

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
}

ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.DEVELOPER: _DEVELOPER,
    # Anybody may register as a developer, and a process replica runs commands as the platform's
    # own user: so that permission is an administrator's to use.
    Role.ADMIN: frozenset(Permission),
}
