"""What is wrong with how an MCP is described and deployed: no matter of its configuration."""

from collections.abc import Iterator
from typing import Final

from activities.improvements.facts import Facts, Finding
from activities.improvements.texts import short
from mcp_platform.contracts.deployments import Deployment, Driver, HealthCheck
from mcp_platform.contracts.evidence import Evidence, SourceKind
from mcp_platform.contracts.improvements import Category, Severity
from mcp_platform.contracts.resources import Resources

_SHORTEST: Final = 20
_RESTLESS: Final = 3
_CONTAINERS: Final = frozenset({Driver.DOCKER, Driver.SWARM})


def deployment_findings(facts: Facts) -> Iterator[Finding]:
    """Look at the MCP's own description, and at its deployment."""
    if len(facts.mcp.description.strip()) < _SHORTEST:
        yield Finding(
            "mcp-description",
            "mcp",
            "Describe what the MCP is for",
            Severity.LOW,
            Category.DESCRIPTION,
            "Its own description says little, and it is what people and the search find it by:"
            " PUT /api/v1/mcps/{id} with a description.",
            [_of_mcp(facts, f"a description of {len(facts.mcp.description.strip())} characters")],
        )
    if facts.deployment is not None:
        yield from _limits(facts, facts.deployment)
        yield from _replicas(facts, facts.deployment)


def _limits(facts: Facts, deployment: Deployment) -> Iterator[Finding]:
    config = deployment.config
    if config.resources == Resources():
        enforced = deployment.driver in _CONTAINERS
        yield Finding(
            "missing-limits",
            "deployment",
            "Say what a replica may use",
            Severity.LOW,
            Category.DEPLOYMENT,
            "The deployment names no CPU and memory: give config.resources where it is deployed. "
            + (
                "Its containers have the platform's defaults."
                if enforced
                else "The process driver does not enforce them, so that one replica can take all there is:"
                " containers are held to them."
            ),
            [_of_deployment(deployment, "no resources are set")],
        )
    if config.health == HealthCheck() and deployment.driver is not Driver.REMOTE:
        yield Finding(
            "default-health-check",
            "deployment",
            "Fit the health check to the server",
            Severity.INFO,
            Category.DEPLOYMENT,
            "It has no health check of its own: how often it is checked and how long a start may take are"
            " the platform's defaults. Give config.health where it is deployed.",
            [_of_deployment(deployment, "no health check is set")],
        )


def _replicas(facts: Facts, deployment: Deployment) -> Iterator[Finding]:
    restarts = sum(replica.restarts for replica in facts.replicas)
    if restarts >= _RESTLESS:
        reasons = [replica.reason for replica in facts.replicas if replica.reason]
        last = f"; the last reason was “{short(reasons[0])}”" if reasons else ""
        yield Finding(
            "restarted-replicas",
            "deployment",
            "Find out why replicas end",
            Severity.MEDIUM,
            Category.RELIABILITY,
            f"Its replicas were started anew {restarts} times{last}. Their logs say more.",
            [_of_deployment(deployment, f"{restarts} restarts")],
        )
    if deployment.version != facts.mcp.version:
        yield Finding(
            "older-version-deployed",
            "deployment",
            f"Roll out {facts.mcp.version}",
            Severity.LOW,
            Category.DEPLOYMENT,
            f"It runs {deployment.version}, and {facts.mcp.version} is registered: what is improved in the"
            " configuration serves nobody before it is rolled out.",
            [_of_deployment(deployment, f"it runs {deployment.version}")],
        )


def _of_mcp(facts: Facts, statement: str) -> Evidence:
    source = f"mcp:{facts.mcp.slug} {facts.mcp.version}"
    return Evidence(statement=statement, kind=SourceKind.MCP, source=source)


def _of_deployment(deployment: Deployment, statement: str) -> Evidence:
    return Evidence(statement=statement, kind=SourceKind.FIGURES, source=f"deployment:{deployment.id}")
