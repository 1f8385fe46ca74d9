"""Search attributes, made known to Temporal at each start of a worker."""

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from mcp_platform.search_attributes import ALL

logger = structlog.get_logger(__name__)


async def ensure_search_attributes(temporal: Client) -> None:
    """Make known those that are missing. A cluster that forbids it was told before, by its operators."""
    # Retried: Temporal closes connections for their age, and raw requests fail with them unless told.
    namespace = temporal.namespace
    try:
        known = await temporal.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=namespace), retry=True
        )
        missing = [key.name for key in ALL if key.name not in known.custom_attributes]
        if missing:
            keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
            await temporal.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=namespace, search_attributes=dict.fromkeys(missing, keyword)
                ),
                retry=True,
            )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return
        if error.status not in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise
        logger.warning("search_attributes_not_ensured", error=str(error))
