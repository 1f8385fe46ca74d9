"""Examples for the OpenAPI document, made from the schemas: what a field is called says what is in it."""

from typing import Any

from jsonschema import Draft202012Validator

_ID = "770e8400-e29b-41d4-a716-446655440002"
_SAMPLES: dict[str, Any] = {
    "access_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…",
    "change_type": "update",
    "config": {"servers": [{"name": "weather-server", "url": "http://localhost:9000/mcp"}], "tools": []},
    "content": "The Model Context Protocol (MCP) is a standardized protocol…",
    "content_snippet": "…MCP authentication uses JWT tokens…",
    "cpu": "500m",
    "created_after": "2026-01-01T00:00:00Z",
    "created_at": "2026-01-15T10:30:00Z",
    "created_before": "2026-12-31T23:59:59Z",
    "description": "Provides weather information via MCP protocol",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "email": "dev@example.com",
    "endpoint_url": "http://localhost:8000/mcp/weather-tool/v1",
    "environment": "production",
    "expires_at": "2027-12-31T23:59:59Z",
    "expires_in": 900,
    "key": "mcp_live_…",
    "language": "en",
    "max_response_bytes": 200_000,
    "memory": "512Mi",
    "message": "Feasibility analysis queued for processing",
    "name": "Weather MCP Tool",
    "page": 1,
    "page_size": 20,
    "pages": 1,
    "password": "SecurePassword123!",
    "prefix": "mcp_live_Ab3xYz",
    "progress": 45,
    "query": "How does MCP handle authentication?",
    "refresh_token": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9…",
    "role": "developer",
    "scopes": ["READ"],
    "slug": "weather-tool",
    "source": "official-docs",
    "tags": ["mcp", "protocol"],
    "title": "MCP Protocol Specification",
    "token_type": "bearer",
    "tool_name": "Weather MCP Tool",
    "total": 1,
    "username": "developer",
    "version": "1.0.0",
}
_BY_FORMAT = {
    "uuid": _ID,
    "date-time": "2026-01-15T10:30:00Z",
    "password": "SecurePassword123!",
    "binary": "…",
}
_BY_TYPE: dict[str, Any] = {"string": "text", "integer": 1, "number": 0.5, "boolean": True, "null": None}
_DEPTH = 8


def example_of(schema: dict[str, Any], schemas: dict[str, Any], name: str = "", depth: int = 0) -> Any:
    """Make a value that the schema describes.

    Args:
        schema: A JSON Schema, as OpenAPI has it.
        schemas: What its references lead to.
        name: The field that it is the value of.
        depth: How deep that field lies.
    """
    if name in _SAMPLES and _fits(_SAMPLES[name], schema, schemas):
        return _SAMPLES[name]
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth)
    told = _told(schema)
    if told is not None:
        return told
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return example_of(schema[several][0], schemas, name, depth)
    kind = schema.get("type", "object")
    if kind == "object":
        return _object(schema, schemas, depth)
    if kind == "array":
        return [] if depth > _DEPTH else [example_of(schema.get("items", {}), schemas, name, depth + 1)]
    plain = _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE[kind])
    if kind == "number":
        plain = max(plain, schema.get("minimum", plain))
    return schema.get("enum", [plain])[0]


def _fits(sample: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Tell whether a sample is such a value: fields of one name mean different things in different places."""
    return Draft202012Validator({**schema, "components": {"schemas": schemas}}).is_valid(sample)


def _told(schema: dict[str, Any]) -> Any:
    """Give the value that the schema itself names, if it names one."""
    for given in ("example", "const", "default"):
        # An empty default shows nothing.
        if schema.get(given) not in (None, "", [], {}):
            return schema[given]
    return schema.get("examples", [None])[0]


def _object(schema: dict[str, Any], schemas: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        return {}
    fields = schema.get("properties", {})
    return {name: example_of(field, schemas, name, depth + 1) for name, field in fields.items()}
