"""Settings of GitHub: which servers repositories may be at, and the platform's App there."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr

PUBLIC_HOST: Final = "github.com"
PUBLIC_API: Final = "https://api.github.com"


class GitHubSettings(BaseModel):
    """Where tokens of users may be sent, and what the platform's own App there proves itself with."""

    hosts: list[str] = [PUBLIC_HOST]
    """Hosts of GitHub servers that repositories may be connected at: no token is sent to any other."""
    most_connections: int = Field(50, gt=0)
    """That one account may have."""
    app_id: int | None = Field(None, gt=0)
    app_private_key: SecretStr | None = None
    """In PEM, as GitHub gives it."""
    app_private_key_path: Path | None = None
    """A file with it, instead."""
    app_webhook_secret: SecretStr | None = None
    """What the App's own webhook signs with."""
    app_api_url: str = PUBLIC_API
    """The API of the GitHub that the App is registered at."""

    def allows(self, api_url: str) -> bool:
        """Tell whether tokens may be sent to this API."""
        host = urlsplit(api_url).hostname
        if api_url == PUBLIC_API:
            return PUBLIC_HOST in self.hosts
        return host is not None and host != PUBLIC_HOST and host in self.hosts

    def app_key(self) -> str | None:
        """Read the App's private key; a file that cannot be read is as none."""
        if self.app_private_key is not None:
            return self.app_private_key.get_secret_value()
        try:
            return self.app_private_key_path.read_text() if self.app_private_key_path else None
        except OSError:
            return None
