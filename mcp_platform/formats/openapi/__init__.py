"""OpenAPI documents (3.0 and 3.1), read as configurations: one tool for each operation."""

from mcp_platform.formats.openapi.document import NoOpenApi, read_document
from mcp_platform.formats.openapi.reading import Choice, Reading, read_openapi

__all__ = ["Choice", "NoOpenApi", "Reading", "read_document", "read_openapi"]
