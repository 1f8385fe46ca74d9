"""Settings of registries, of servers and of packages, and of trials of what they name."""

from pydantic import BaseModel, Field, SecretStr


class RegistrySettings(BaseModel):
    """How the catalogue is shown as a registry."""

    namespace: str = Field("local.mcp-platform", pattern=r"^[a-zA-Z0-9.-]{1,95}$")
    """What stands before the slash in the name of each server: one's own domain, reversed."""
    source: str = Field("https://registry.modelcontextprotocol.io", pattern=r"^(https?://\S+)?$")
    """The registry whose servers are added to the catalogue of known ones each day; none where empty."""
    source_timeout: float = Field(20.0, gt=0)
    """Seconds that one of its pages may take."""


class PackageSettings(BaseModel):
    """The package registries that are asked whether a package exists; times in seconds."""

    pypi_url: SecretStr = SecretStr("https://pypi.org")
    """The address before `/pypi/<name>/json`; it may have a user and a password in it."""
    npm_url: SecretStr = SecretStr("https://registry.npmjs.org")
    """The address before the name of a package; the same holds."""
    timeout: float = Field(10.0, gt=0, le=14)
    """How long one question may take."""


class TrialSettings(BaseModel):
    """Trials of servers that nobody has deployed: a generated configuration, an idea."""

    at_once: int = Field(2, gt=0)
    """How many of one account's go on at a time; further ones wait."""
    memory_bytes: int = Field(1_073_741_824, ge=67_108_864)
    """How much a tried server may use as a process, with all that it starts; it is ended then."""
