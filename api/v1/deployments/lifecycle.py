"""Changing deployments: scaling, roll-outs and the way back, restarts, stopping."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response, status
from pydantic import Field, model_validator

from api.dependencies import PartsDep
from api.parts import Parts
from api.v1.deployments.asking import PATIENCE, asked, roll_out, stop, stopped, workflow_of
from api.v1.deployments.lookup import Writer, find_deployment, own_deployment
from api.v1.deployments.shown import DeploymentDetails, DeploymentStopped, RolloutStarted, details
from api.v1.mcps.lookup import find_version
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.base import Order
from mcp_platform.contracts.deployments import (
    Autoscaling,
    Deployment,
    DeploymentConfig,
    DeploymentState,
    Driver,
    HealthCheck,
    Revision,
    RevisionCause,
    RevisionState,
    ScaleDeployment,
)
from mcp_platform.contracts.resources import Resources
from mcp_platform.errors import Conflict, NotFound
from storage.deploying import check_quota, content_of, with_image_of
from workflows.deployments import DeploymentWorkflow

router = APIRouter(prefix="/deployments", tags=["Deployments"])


class ChangeDeployment(Order):
    """Body of `PATCH /deployments/{id}`; what is not given stays as it is."""

    replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    health: HealthCheck | None = None
    autoscaling: Autoscaling | None = None
    """`null` ends the autoscaling."""
    resources: Resources | None = None
    """Other resources make a new revision, whose replicas take over one by one; one alone may be given."""

    @model_validator(mode="after")
    def _something(self) -> "ChangeDeployment":
        if not self.model_fields_set:
            raise ValueError("give at least one of replicas, resources, health and autoscaling")
        for name in ("replicas", "resources", "health"):
            if name in self.model_fields_set and getattr(self, name) is None:
                raise ValueError(f"{name} must not be null; leave it out to keep what there is")
        return self


class RollOut(Order):
    """Body of `POST /deployments/{id}/rollout`; what is not given stays as it is."""

    version: Annotated[str, Field(max_length=64)] | None = None
    """A version of the MCP; the present one unless given."""
    replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    resources: Resources | None = None
    driver: Driver | None = None


class RollBack(Order):
    """Body of `POST /deployments/{id}/rollback`."""

    revision: Annotated[int, Field(ge=1)] | None = None
    """Where to go back to: the revision that ran before the present one, unless given."""


class StopDeployment(Order):
    """Body of `POST /deployments/{id}/stop`."""

    drain_timeout: Annotated[float, Field(ge=0, le=3600)] | None = None
    """How many seconds calls in flight may take to finish; the deployment's own unless given."""


@router.patch("/{deployment_id}", responses={202: {"model": DeploymentDetails}})
async def change_deployment(
    deployment_id: UUID, order: ChangeDeployment, caller: Writer, parts: PartsDep, response: Response
) -> DeploymentDetails:
    """Wish for another number of replicas, other resources (202: they are replaced), other checks."""
    deployment = await own_deployment(parts, deployment_id, caller)
    if deployment.driver is Driver.REMOTE and (order.replicas or order.autoscaling or order.resources):
        raise Conflict(
            "A remote server has one address and cannot be scaled", deployment_id=str(deployment_id)
        )
    config = _changed(deployment.config, order)
    await check_quota(parts.stores, parts.settings, caller, deployment, config)
    if config.resources != deployment.config.resources:
        await _roll_to(parts, deployment, caller, RevisionCause.CHANGE, config, replicas=order.replicas)
        response.status_code = status.HTTP_202_ACCEPTED
    else:
        scale = ScaleDeployment(
            replicas=order.replicas,
            health=config.health if order.health else None,
            autoscaling=order.autoscaling,
            fixed="autoscaling" in order.model_fields_set and order.autoscaling is None,
        )
        handle = workflow_of(parts, deployment_id)
        await asked(
            deployment_id,
            lambda: handle.execute_update(DeploymentWorkflow.scale, scale, rpc_timeout=PATIENCE),
        )
    return await details(parts, await find_deployment(parts, deployment_id, caller))


@router.post("/{deployment_id}/rollout", status_code=status.HTTP_202_ACCEPTED)
async def roll_out_deployment(
    deployment_id: UUID, caller: Writer, parts: PartsDep, order: RollOut | None = None
) -> RolloutStarted:
    """Replace the replicas by ones of another version: each new one answers before an old one goes.

    When a new one does not become healthy within its patience, all is put back as it was.
    """
    deployment = await own_deployment(parts, deployment_id, caller)
    wanted = order or RollOut()
    config = deployment.config.model_copy(
        update={
            "resources": _with(deployment.config.resources, wanted.resources or Resources()),
            "driver": wanted.driver or deployment.config.driver,
        }
    )
    wished = config.model_copy(update={"replicas": wanted.replicas or config.replicas})
    await check_quota(parts.stores, parts.settings, caller, deployment, wished)
    return await _roll_to(
        parts, deployment, caller, RevisionCause.ROLLOUT, config, wanted.version, wanted.replicas
    )


@router.post("/{deployment_id}/rollback", status_code=status.HTTP_202_ACCEPTED)
async def roll_back_deployment(
    deployment_id: UUID, caller: Writer, parts: PartsDep, order: RollBack | None = None
) -> RolloutStarted:
    """Call off the roll-out that goes on; or else go back to an earlier revision."""
    deployment = await own_deployment(parts, deployment_id, caller)
    if deployment.status is DeploymentState.STOPPED:
        raise stopped(deployment_id)
    number = order.revision if order else None
    rollout = deployment.rollout
    if rollout is not None and rollout.state is RevisionState.PENDING and number is None:
        handle = workflow_of(parts, deployment_id)
        await asked(
            deployment_id,
            lambda: handle.execute_update(DeploymentWorkflow.call_off, caller.username, rpc_timeout=PATIENCE),
        )
        return RolloutStarted(
            deployment_id=deployment_id,
            revision=deployment.revision,
            version=deployment.version,
            cause=RevisionCause.ROLLBACK,
            state=RevisionState.PENDING,
            message=f"The roll-out of revision {rollout.revision} is called off",
        )
    target = await _revision_to_go_back_to(parts, deployment, number)
    return await _repeat(parts, deployment, caller, RevisionCause.ROLLBACK, target)


@router.post("/{deployment_id}/restart", status_code=status.HTTP_202_ACCEPTED)
async def restart_deployment(deployment_id: UUID, caller: Writer, parts: PartsDep) -> RolloutStarted:
    """Replace every replica by a new one of the same kind, one after the other, without a gap."""
    deployment = await own_deployment(parts, deployment_id, caller)
    async with parts.stores.read() as rows:
        present = await rows.revisions.get(deployment.id, deployment.revision)
    if present is None:
        raise NotFound("revision", deployment.revision)
    return await _repeat(parts, deployment, caller, RevisionCause.RESTART, present)


@router.post(
    "/{deployment_id}/stop",
    response_model_exclude_none=True,
    responses={202: {"model": DeploymentStopped}},
)
async def stop_gently(
    deployment_id: UUID,
    caller: Writer,
    parts: PartsDep,
    response: Response,
    order: StopDeployment | None = None,
) -> DeploymentStopped:
    """Stop a deployment once its calls in flight have finished, within bounds; new ones get 404."""
    deployment = await own_deployment(parts, deployment_id, caller)
    drain = order.drain_timeout if order else None
    if drain is None:
        own = deployment.config.drain_timeout
        drain = parts.settings.replicas.drain_timeout if own is None else own
    return await _stopped(parts, deployment, caller, drain, response)


@router.delete(
    "/{deployment_id}", response_model_exclude_none=True, responses={202: {"model": DeploymentStopped}}
)
async def stop_deployment(
    deployment_id: UUID, caller: Writer, parts: PartsDep, response: Response
) -> DeploymentStopped:
    """Stop a deployment soon; answers once nothing of it runs any more, or with 202 when that takes long."""
    deployment = await own_deployment(parts, deployment_id, caller)
    return await _stopped(parts, deployment, caller, None, response)


async def _stopped(
    parts: Parts, deployment: Deployment, caller: Principal, drain: float | None, response: Response
) -> DeploymentStopped:
    if deployment.status is not DeploymentState.STOPPED:
        await stop(parts, deployment, drain)
        deployment = await find_deployment(parts, deployment.id, caller)
    if deployment.status is not DeploymentState.STOPPED:
        response.status_code = status.HTTP_202_ACCEPTED
        return DeploymentStopped(message="Deployment is stopping", deployment_id=deployment.id)
    return DeploymentStopped(
        message="Deployment stopped successfully",
        deployment_id=deployment.id,
        stopped_at=deployment.stopped_at,
    )


async def _roll_to(
    parts: Parts,
    deployment: Deployment,
    caller: Principal,
    cause: RevisionCause,
    config: DeploymentConfig,
    version: str | None = None,
    replicas: int | None = None,
) -> RolloutStarted:
    """Roll to a version of the MCP, or with a change to what runs now."""
    name, key = deployment.version, deployment.config_key
    async with parts.stores.read() as rows:
        present = await rows.revisions.get(deployment.id, deployment.revision)
        if cause is RevisionCause.ROLLOUT:
            mcp = await rows.mcps.get(deployment.mcp_id)
            if mcp is None:
                raise NotFound("mcp_tool", deployment.mcp_id)
            name, key = mcp.version, mcp.config_key
    if version:
        entry = await find_version(parts, deployment.mcp_id, version)
        name, key = entry.version, entry.config_key
    content = await content_of(
        parts.stores, parts.settings, caller, cause, version=name, config_key=key, config=config
    )
    # A roll-out builds anew, which costs little where nothing changed, and finds out what is gone.
    if cause is RevisionCause.CHANGE and present is not None:
        content = with_image_of(content, present)
    return await roll_out(parts, deployment, content, replicas)


async def _repeat(
    parts: Parts, deployment: Deployment, caller: Principal, cause: RevisionCause, revision: Revision
) -> RolloutStarted:
    """Roll to what a revision ran, with the image that was built for it, checked and scaled as now."""
    now = deployment.config
    kept = {"health": now.health, "autoscaling": now.autoscaling, "drain_timeout": now.drain_timeout}
    content = await content_of(
        parts.stores,
        parts.settings,
        caller,
        cause,
        version=revision.version,
        config_key=revision.config_key,
        config=revision.config.model_copy(update=kept),
    )
    return await roll_out(parts, deployment, with_image_of(content, revision))


async def _revision_to_go_back_to(parts: Parts, deployment: Deployment, number: int | None) -> Revision:
    async with parts.stores.read() as rows:
        if number is not None:
            found = await rows.revisions.get(deployment.id, number)
        else:
            revisions = await rows.revisions.list(deployment.id)
            found = _before(revisions, deployment.revision)
    if found is not None:
        return found
    if number is not None:
        raise NotFound("revision", number)
    raise Conflict(
        "There is no earlier revision to go back to that ran anything else",
        deployment_id=str(deployment.id),
    )


def _before(revisions: list[Revision], number: int) -> Revision | None:
    """Find the newest earlier revision that ran, and ran something else than this one: not a restart."""
    present = next((each for each in revisions if each.number == number), None)
    for each in revisions:
        other = present is None or _what(each) != _what(present)
        if each.number < number and each.state is RevisionState.SUPERSEDED and other:
            return each
    return None


def _what(revision: Revision) -> tuple[object, ...]:
    config = revision.config
    where = (revision.driver, config.environment, config.egress)
    return revision.config_key, config.server, config.resources, *where


def _changed(config: DeploymentConfig, order: ChangeDeployment) -> DeploymentConfig:
    changes: dict[str, object] = {
        name: getattr(order, name) for name in ("autoscaling", "replicas") if name in order.model_fields_set
    }
    if order.resources is not None:
        changes["resources"] = _with(config.resources, order.resources)
    if order.health is not None:
        changes["health"] = config.health.model_copy(update=order.health.model_dump(exclude_none=True))
    return config.model_copy(update=changes)


def _with(present: Resources, given: Resources) -> Resources:
    """Change what is given; `null` brings the platform's own limit back."""
    return present.model_copy(update=given.model_dump(exclude_unset=True))
