"""docker-compose.yml, its environment file and the image that it builds."""

import base64
import os
import re
import tomllib
from typing import Any

import pytest
import yaml

from mcp_platform.settings import Mode, Settings
from tests.architecture.source_tree import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

ONE_SHOT = {"migrate", "setup", "temporal-schema", "temporal-namespace"}
SECRET = re.compile(r"PASSWORD|_PWD|MASTER_KEY|_URL$")
PINNED = re.compile(r"[a-z/-]+:v?\d+(?:\.\d+){2}[\w.-]*$|[a-z/-]+:\d+\.\d+-[\w.-]+$")


def variables(pattern: str) -> set[str]:
    return set(re.findall(pattern, TEXT))


def mounts(service: dict[str, Any]) -> list[str]:
    return [str(volume).split(":")[0] for volume in service.get("volumes", [])]


def test_every_part_of_the_platform_is_there() -> None:
    parts = {
        "api",
        "gateway",
        "worker",
        "migrate",
        "setup",
        "mysql",
        "mongo",
        "redis",
        "prometheus",
        "grafana",
    }
    assert parts | {"temporal", "temporal-db", "temporal-schema", "temporal-namespace", "temporal-ui"} == set(
        SERVICES
    )


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_watched_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}
        assert service["restart"].startswith("on-failure")
        return
    assert service["restart"] == "unless-stopped"
    check = service["healthcheck"]
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert "test" in check or ("build" in service and "HEALTHCHECK" in DOCKERFILE)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_pinned(name: str) -> None:
    assert PINNED.match(SERVICES[name]["image"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_secret_has_no_default_and_its_absence_tells_how_to_make_one(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(variable) and not re.search(r"PUBLIC_URL|UI_URL|HEALTH_URL", variable):
            assert re.search(r"\$\{[A-Z_]+:\?[^}]*openssl rand[^}]*\}", value), variable


def test_the_secrets_that_are_demanded_are_the_empty_lines_of_the_example() -> None:
    example = (ROOT / ".env.example").read_text()
    assert variables(r"\$\{([A-Z_]+):\?") == set(re.findall(r"(?m)^([A-Z_]+)=$", example))
    assert variables(r"\$\{([A-Z_]+):-") == set(re.findall(r"(?m)^([A-Z_]+)=.", example))


def test_the_defaults_in_the_example_are_those_of_the_services() -> None:
    example = dict(re.findall(r"(?m)^([A-Z_]+)=(.+)$", (ROOT / ".env.example").read_text()))
    assert set(example.items()) == set(re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", TEXT))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_published_ports_are_on_loopback_unless_told(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:")


def test_only_users_ports_are_published() -> None:
    assert {name for name, service in SERVICES.items() if service.get("ports")} == {
        "api",
        "gateway",
        "temporal-ui",
        "grafana",
    }


def test_stores_have_no_way_out() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in ("mysql", "mongo", "redis", "temporal-db", "temporal", "prometheus"):
        assert SERVICES[name]["networks"] == ["inside"], name


def test_every_volume_is_named_and_every_named_volume_is_used() -> None:
    used = {mount for service in SERVICES.values() for mount in mounts(service) if not mount.startswith("./")}
    assert used == set(COMPOSE["volumes"])


def test_every_mounted_file_exists() -> None:
    for service in SERVICES.values():
        for mount in mounts(service):
            assert not mount.startswith("./") or (ROOT / mount).exists(), mount


def test_what_a_service_waits_for_can_come_true() -> None:
    for name, service in SERVICES.items():
        for other, wish in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert wish["condition"] == wanted, f"{name} waits for {other}"


@pytest.mark.parametrize("name", ["api", "gateway", "worker", "migrate", "setup"])
def test_our_own_parts_run_with_as_few_rights_as_possible(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_the_image_holds_every_package_that_is_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for package in packages:
        assert f"COPY {package} {package}" in DOCKERFILE
        assert f"!{package}" in allowed


def test_the_image_has_one_pinned_base_and_does_not_run_as_root() -> None:
    bases = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)
    assert len(set(bases)) == 1
    assert re.match(r"python:3\.11\.\d+-slim-\w+$", bases[0])
    assert re.search(r"(?m)^USER [1-9]\d*$", DOCKERFILE)
    assert "--require-hashes -r requirements.lock" in DOCKERFILE


def test_the_version_of_the_image_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["api"]["image"] == f"mcp-platform:{version}"


def test_the_worker_serves_figures_where_its_health_check_and_prometheus_look() -> None:
    environment = SERVICES["worker"]["environment"]
    assert environment["MCP_PLATFORM_WORKER__METRICS_ADDRESS"] == "0.0.0.0:9464"
    assert environment["HEALTH_URL"] == "http://127.0.0.1:9464/metrics"
    jobs = yaml.safe_load((ROOT / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    assert environment["MCP_PLATFORM_WORKER__FIGURES_ADDRESS"] == "0.0.0.0:9465"
    ports = [(entry["names"][0], entry["port"]) for job in jobs for entry in job.get("dns_sd_configs", [])]
    assert ports == [("api", 8000), ("gateway", 8001), ("worker", 9464), ("worker", 9465)]


@pytest.mark.parametrize("name", ["api", "gateway", "worker", "migrate", "setup"])
def test_our_own_parts_get_settings_that_hold(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [one for one in os.environ if one.startswith("MCP_PLATFORM_")]:
        monkeypatch.delenv(variable)
    key = base64.b64encode(bytes(32)).decode()
    for variable, value in SERVICES[name]["environment"].items():
        filled = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)
        monkeypatch.setenv(variable, re.sub(r"\$\{[A-Z_]+:\?[^}]*\}", key, filled))
    settings = Settings()
    assert settings.mode is Mode.PRODUCTION
    known = set(Settings.model_fields)
    for variable in SERVICES[name]["environment"]:
        if variable.startswith("MCP_PLATFORM_"):
            group, _, field = variable.removeprefix("MCP_PLATFORM_").lower().partition("__")
            assert group in known
            assert not field or field in type(getattr(settings, group)).model_fields


def test_the_worker_writes_replicas_logs_where_the_api_may_only_read_them() -> None:
    folder = SERVICES["api"]["environment"]["MCP_PLATFORM_REPLICA_LOGS__FOLDER"]
    assert SERVICES["worker"]["volumes"] == [f"replica-logs:{folder}"]
    assert SERVICES["api"]["volumes"] == [f"replica-logs:{folder}:ro"]
    assert f"--owner 10001 --mode 0750 {folder}" in DOCKERFILE
