"""Accounts that may refer to shared secrets."""

from uuid import uuid4

from mcp_platform.contracts.access import Permission, Role
from mcp_platform.security.permissions import ROLE_PERMISSIONS
from tests.access.people import Person, appoint, person
from tests.platform import RunningPlatform


async def trusted(platform: RunningPlatform) -> Person:
    """Make an account whose role is a developer's with `secrets:use`."""
    admin, trusted_one = await platform.admin(), await person(platform)
    permissions = sorted(ROLE_PERMISSIONS[Role.DEVELOPER] | {Permission.SECRETS_USE})
    name = f"trusted-{uuid4().hex[:8]}"
    answer = await admin.post("/api/v1/roles", json={"name": name, "permissions": permissions})
    assert answer.status_code == 201, answer.text
    await appoint(platform, trusted_one, name)
    return trusted_one
