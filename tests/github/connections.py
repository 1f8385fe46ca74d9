"""Connections as activities see them, without a platform around them."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from activities.clients.github import GitHubs
from mcp_platform.contracts.github import (
    Connection,
    CredentialKind,
    SealedConnection,
    WebhookState,
    connection_purpose,
)
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.security.keys import MasterKey
from mcp_platform.security.sealing import Sealer
from tests.github.double import Repository

SEALER = Sealer(MasterKey(b"k" * 32))


def github_client(**settings: object) -> GitHubs:
    """Give what opens the double for connections."""
    given = {"hosts": ["github.com", "127.0.0.1"]} | settings
    return GitHubs(GitHubSettings.model_validate(given), SEALER)


def sealed_connection(
    repository: Repository,
    token: str | None,
    *,
    branch: str = "main",
    path: str = "",
    owner_id: UUID | None = None,
    installation_id: int | None = None,
    webhook_secret: str = "a secret of the webhook",
) -> SealedConnection:
    """Make a connection to a repository of the double."""
    now, number = datetime.now(UTC), uuid4()
    connection = Connection(
        id=number,
        owner_id=owner_id or uuid4(),
        repository_url=repository.url,
        api_url=f"{repository.address}/api/v3",
        full_name=repository.full_name,
        branch=branch,
        path=path,
        credential=CredentialKind.APP if installation_id else CredentialKind.TOKEN,
        installation_id=installation_id,
        webhook=WebhookState.REFUSED,
        created_at=now,
        updated_at=now,
    )
    return SealedConnection(
        connection=connection,
        sealed_token=SEALER.seal(token.encode(), connection_purpose(number, "token")) if token else None,
        sealed_webhook_secret=SEALER.seal(webhook_secret.encode(), connection_purpose(number, "webhook")),
    )


def app_key() -> dict[str, str]:
    """Make the key of an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return {"private": private.decode(), "public": public.decode()}
