"""What the scopes of an API key leave of its owner's permissions."""

import pytest

from mcp_platform.contracts.access import Permission, Role
from mcp_platform.security.permissions import ROLE_PERMISSIONS, SCOPES, within_scopes

ALL = frozenset(Permission)


def test_without_scopes_a_key_may_do_all_that_its_owner_may() -> None:
    for permissions in ROLE_PERMISSIONS.values():
        assert within_scopes(permissions, None) == permissions
        assert within_scopes(permissions, ["ADMIN"]) == permissions


def test_reading_is_every_permission_to_read_and_no_other() -> None:
    assert within_scopes(ALL, ["READ"]) == {one for one in Permission if one.value.endswith(":read")}


def test_writing_changes_and_runs_things_and_administers_nothing() -> None:
    writing = within_scopes(ALL, ["WRITE"])
    assert within_scopes(ALL, ["READ"]) < writing
    assert ALL - writing == {
        Permission.ACCOUNT,
        Permission.MCPS_ALL,
        Permission.MCPS_PUBLISH,
        Permission.TOOLS_APPROVE,
        Permission.GITHUB_ALL,
        Permission.GROUPS_ALL,
        Permission.MODELS_ALL,
        Permission.GATEWAY_ADMIN,
        Permission.TASKS_ALL,
        Permission.DEPLOYMENTS_ALL,
        Permission.KNOWLEDGE_ALL,
        Permission.SECRETS_USE,
        Permission.SECRETS_SHARE,
        Permission.USERS_WRITE,
        Permission.USERS_APPOINT,
    }


@pytest.mark.parametrize("permission", Permission)
def test_each_permission_is_a_scope_of_its_own(permission: Permission) -> None:
    assert within_scopes(ALL, [permission.value]) == {permission}


def test_scopes_add_up_and_never_go_beyond_the_owner() -> None:
    viewer = ROLE_PERMISSIONS[Role.VIEWER]
    assert within_scopes(viewer, ["mcps:read", "mcps:write", "tools:call"]) == {
        Permission.MCPS_READ,
        Permission.TOOLS_CALL,
    }
    assert within_scopes(viewer, list(SCOPES)) == viewer


def test_a_scope_that_only_an_older_release_knew_gives_nothing() -> None:
    assert within_scopes(ALL, ["mcps:teleport"]) == frozenset()
    assert within_scopes(ALL, []) == frozenset()
