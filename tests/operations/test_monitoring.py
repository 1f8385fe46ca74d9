"""Prometheus finds the parts, and the dashboards ask for figures that exist."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

import gateway.figures
import worker.figures
from tests.architecture.source_tree import ROOT

MONITORING = ROOT / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def board(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def provisioned(kind: str) -> dict[str, Any]:
    (path,) = (MONITORING / "grafana" / "provisioning" / kind).iterdir()
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_every_scraped_name_is_a_service_of_compose() -> None:
    jobs = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    named = {name for job in jobs for entry in job.get("dns_sd_configs", []) for name in entry["names"]}
    assert named == {"api", "gateway", "worker"}
    targets = [host for job in jobs for entry in job.get("static_configs", []) for host in entry["targets"]]
    assert {target.split(":")[0] for target in targets} - {"127.0.0.1"} <= set(SERVICES)


def test_grafana_finds_prometheus_and_the_dashboards_where_compose_puts_them() -> None:
    (source,) = provisioned("datasources")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = provisioned("dashboards")["providers"]
    mounts = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounts


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_the_provisioned_source(path: Path) -> None:
    (source,) = provisioned("datasources")["datasources"]
    asked = set(re.findall(r'"uid": "(\w+)"', json.dumps(board(path)["panels"])))
    assert asked == {source["uid"]}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_panel_covers_another(path: Path) -> None:
    panels = board(path)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_figure_of_our_own_that_a_panel_shows_is_collected(path: Path) -> None:
    known = {sample for metric in REGISTRY.collect() for sample in family(metric.name, metric.type)}
    asked = set(re.findall(r"\bmcp_platform_\w+", json.dumps(board(path))))
    assert asked <= known


def family(name: str, kind: str) -> set[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
    return {name + ending for ending in endings}


def test_all_figures_of_the_worker_are_shown() -> None:
    names = {metric.name for metric in worker.figures.FLEETS.collect()}
    assert names
    shown = (MONITORING / "grafana" / "dashboards" / "deployments.json").read_text()
    assert {name for name in names if name not in shown} == set()


def test_all_figures_of_the_gateway_are_shown() -> None:
    figures = [one for one in vars(gateway.figures).values() if isinstance(one, Counter | Gauge | Histogram)]
    names = {metric.name for figure in figures for metric in figure.collect()}
    assert names
    shown = (MONITORING / "grafana" / "dashboards" / "mcp-calls.json").read_text()
    assert {name for name in names if name not in shown} == set()
