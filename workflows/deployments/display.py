"""Shows a deployment to whoever looks at its workflow in Temporal's web UI."""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from mcp_platform import search_attributes
from mcp_platform.contracts.deployments import DeploymentOrder, DeploymentReport, Slot
from workflows.deployments.reports import in_words


class Display:
    """Keeps the workflow's details and search attributes true."""

    def __init__(self) -> None:
        self._shown: dict[SearchAttributeKey[str], str] = {}

    def show(self, report: DeploymentReport, order: DeploymentOrder, slots: list[Slot]) -> None:
        """Show the state in words, and let it be searched for."""
        workflow.set_current_details(in_words(report, order.environment, slots))
        if not workflow.patched("search-attributes"):
            return
        wanted = {
            search_attributes.SLUG: report.slug,
            search_attributes.STATUS: report.status.value,
            search_attributes.DRIVER: order.driver.value,
            search_attributes.ENVIRONMENT: order.environment,
            search_attributes.OWNER: str(order.owner_id or ""),
        }
        changed = {key: value for key, value in wanted.items() if self._shown.get(key) != value}
        if changed:
            workflow.upsert_search_attributes([key.value_set(value) for key, value in changed.items()])
            self._shown |= changed
