"""Settings: read from the environment, secret where they are secrets, and complete in production."""

import base64
from pathlib import Path

import pytest
from pydantic import ValidationError

from mcp_platform.settings import Mode, Settings

NEEDED = {
    "MCP_PLATFORM_SQL__URL": "mysql+asyncmy://platform:s3cret-sql@sql/platform",
    "MCP_PLATFORM_DOCUMENTS__URL": "mongodb://platform:s3cret-documents@documents",
    "MCP_PLATFORM_CACHE__URL": "redis://:s3cret-cache@cache",
    "MCP_PLATFORM_TEMPORAL__ADDRESS": "temporal:7233",
    "MCP_PLATFORM_SECURITY__MASTER_KEY": base64.b64encode(b"s3cret-master-key-of-32-bytes!!!").decode(),
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Give an environment in which production mode is complete."""
    monkeypatch.setenv("MCP_PLATFORM_MODE", "production")
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_embedded_mode_needs_nothing() -> None:
    settings = Settings()
    assert settings.mode is Mode.EMBEDDED
    assert settings.sql_url == f"sqlite+aiosqlite:///{Path('.mcp-platform/platform.db').absolute()}"
    assert settings.temporal_address == "127.0.0.1:7233"
    assert settings.gateway_url == settings.api_url == "http://127.0.0.1:8000"
    assert settings.process_driver is True
    assert settings.security.master_key is None


def test_groups_are_read_from_nested_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "MCP_PLATFORM_DATA_DIR": str(tmp_path),
        "MCP_PLATFORM_API__PORT": "9000",
        "MCP_PLATFORM_TEMPORAL__TLS_CA_PATH": str(tmp_path / "ca.pem"),
        "MCP_PLATFORM_REPLICAS__PROCESS_DRIVER": "false",
        "MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT": '["WEATHER_KEY"]',
        "MCP_PLATFORM_LOGS__LEVEL": "debug",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.data_dir == tmp_path
    assert settings.api.port == 9000
    assert settings.temporal.tls_ca_path == tmp_path / "ca.pem"
    assert settings.process_driver is False
    assert settings.replicas.exposed_environment == ["WEATHER_KEY"]
    assert settings.logs.level == "debug"
    # What stands beside it in a group keeps its default.
    assert settings.api.host == "127.0.0.1"


@pytest.mark.usefixtures("environment")
def test_production_starts_with_what_it_needs_and_runs_no_commands_as_itself() -> None:
    settings = Settings()
    assert settings.mode is Mode.PRODUCTION
    assert settings.process_driver is False
    assert settings.gateway_url == "http://127.0.0.1:8001"
    assert settings.temporal_address == "temporal:7233"


@pytest.mark.parametrize("missing", NEEDED)
@pytest.mark.parametrize("emptied", [False, True], ids=["unset", "empty"])
def test_production_refuses_to_start_and_names_what_is_missing(
    environment: pytest.MonkeyPatch, missing: str, emptied: bool
) -> None:
    if emptied:
        environment.setenv(missing, "")
    else:
        environment.delenv(missing)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (problem,) = refused.value.errors(include_input=False)
    assert f"production mode needs {missing} (" in problem["msg"]
    assert "openssl rand -base64 32" in problem["msg"]


def test_production_names_everything_that_is_missing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_PLATFORM_MODE", "production")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert all(name in str(refused.value) for name in NEEDED)


def test_the_message_about_what_is_missing_shows_no_secret(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("MCP_PLATFORM_TEMPORAL__ADDRESS")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "s3cret" not in str(refused.value)
    assert NEEDED["MCP_PLATFORM_SECURITY__MASTER_KEY"] not in str(refused.value)


@pytest.mark.usefixtures("environment")
def test_secrets_do_not_show_when_settings_are_printed() -> None:
    shown = repr(Settings())
    assert "s3cret" not in shown
    assert NEEDED["MCP_PLATFORM_SECURITY__MASTER_KEY"] not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MCP_PLATFORM_MODE", "staging"),
        ("MCP_PLATFORM_API__PORT", "0"),
        ("MCP_PLATFORM_API__PORT", "70000"),
        ("MCP_PLATFORM_API__MAX_BODY_BYTES", "-1"),
        ("MCP_PLATFORM_LOGS__FORMAT", "xml"),
        ("MCP_PLATFORM_SECURITY__ACCESS_TTL", "soon"),
    ],
)
def test_a_value_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_settings_cannot_change_while_running() -> None:
    with pytest.raises(ValidationError):
        Settings().mode = Mode.PRODUCTION  # type: ignore[misc]


def test_each_data_directory_is_an_installation_of_its_own(tmp_path: Path) -> None:
    one, other = Settings(data_dir=tmp_path / "one"), Settings(data_dir=tmp_path / "other")
    assert one.instance_id != other.instance_id
    assert one.instance_id == Settings(data_dir=tmp_path / "one").instance_id
