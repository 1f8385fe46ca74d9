"""Search attributes of deployments' workflows, so that Temporal lists "all unhealthy in production"."""

from typing import Final

from temporalio.common import SearchAttributeKey

SLUG: Final = SearchAttributeKey.for_keyword("McpSlug")
STATUS: Final = SearchAttributeKey.for_keyword("McpStatus")
DRIVER: Final = SearchAttributeKey.for_keyword("McpDriver")
ENVIRONMENT: Final = SearchAttributeKey.for_keyword("McpEnvironment")
OWNER: Final = SearchAttributeKey.for_keyword("McpOwner")

ALL: Final = (SLUG, STATUS, DRIVER, ENVIRONMENT, OWNER)
