"""Accounts that may refer to shared secrets, and the forms in which a secret might be found."""

import base64
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


def forms(value: str) -> list[bytes]:
    """Give a value as it is, and as a part of a text in base64, which depends on what stands before it."""
    encoded = [base64.b64encode(b"x" * shift + value.encode())[4 if shift else 0 : -4] for shift in range(3)]
    return [value.encode(), *encoded]
