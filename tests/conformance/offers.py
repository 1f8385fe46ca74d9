"""What the fixture server offers: the names that the scenarios of the official suite ask for."""

import base64
import struct
import zlib
from typing import Any, Final

TEXT: Final = "text/plain"


def _png() -> str:
    """Draw one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + body).decode()


def _wav() -> str:
    """Record two samples of silence."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    data = struct.pack("<4sI2s", b"data", 2, b"\x80\x80")
    body = b"WAVE" + form + data
    return base64.b64encode(struct.pack("<4sI", b"RIFF", len(body)) + body).decode()


PIXEL: Final = _png()
SILENCE: Final = _wav()


def text(words: str) -> dict[str, Any]:
    """Give a block of text."""
    return {"type": "text", "text": words}


IMAGE: Final = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
AUDIO: Final = {"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}


def resource(uri: str, words: str, kind: str = TEXT) -> dict[str, Any]:
    """Give a block that embeds a resource."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": words}}


ANSWERS: Final[dict[str, list[dict[str, Any]]]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [AUDIO],
    "test_embedded_resource": [resource("test://embedded-resource", "This is an embedded resource content.")],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        IMAGE,
        resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ],
}
"""Tools that always answer the same."""

_WORDS: Final = {"type": "string"}
_NOTHING: Final = {"type": "object", "properties": {}}


def _takes(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_RICH_SCHEMA: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": _WORDS, "city": _WORDS},
        }
    },
    "properties": {
        "name": _WORDS,
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": _WORDS,
        "email": _WORDS,
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "test_sampling": _takes(prompt=_WORDS),
    "test_elicitation": _takes(message=_WORDS),
    "json_schema_2020_12_tool": _RICH_SCHEMA,
    "test_region_header": _takes(region={"type": "string", "x-mcp-header": "Region"}),
    "test_trigger_resource_update": _takes(uri=_WORDS),
    "greet": _takes(name=_WORDS),
    "slow_compute": {"type": "object", "properties": {"seconds": {"type": "number"}}},
    "confirm_delete": {"type": "object", "properties": {"filename": _WORDS}},
    "test_slow": {"type": "object", "properties": {"seconds": {"type": "number"}}},
}

_NAMES: Final = [
    *ANSWERS,
    "test_tool_with_logging",
    "test_error_handling",
    "test_tool_with_progress",
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "json_schema_2020_12_tool",
    "test_region_header",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_logging_tool",
    "test_trigger_tool_change",
    "test_trigger_prompt_change",
    "test_trigger_resource_update",
    "test_slow",
    "test_cancelled_calls",
    "test_roots",
    "greet",
    # Tools of the tasks extension.
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
    *(
        f"test_input_required_result_{kind}"
        for kind in (
            "elicitation",
            "sampling",
            "list_roots",
            "request_state",
            "multiple_inputs",
            "multi_round",
            "tampered_state",
            "capabilities",
        )
    ),
]

TOOLS: Final = [
    {"name": name, "description": f"The fixture {name}.", "inputSchema": _SCHEMAS.get(name, _NOTHING)}
    for name in _NAMES
]
SCHEMA_OF: Final[dict[str, Any]] = {str(tool["name"]): tool["inputSchema"] for tool in TOOLS}

_FILES: Final = {
    "test://static-text": (TEXT, "This is the content of the static text resource."),
    "test://watched-resource": (TEXT, "This is the content of the watched resource."),
}
RESOURCES: Final = [
    *(
        {"uri": uri, "name": uri.split("//")[1], "description": f"The fixture {uri}.", "mimeType": kind}
        for uri, (kind, _) in _FILES.items()
    ),
    {
        "uri": "test://static-binary",
        "name": "static-binary",
        "description": "One red pixel.",
        "mimeType": "image/png",
    },
]
TEMPLATES: Final = [
    {
        "uriTemplate": "test://template/{id}/data",
        "name": "template",
        "description": "A resource with a parameter.",
        "mimeType": "application/json",
    }
]


def read(uri: str) -> dict[str, Any] | None:
    """Give a resource's content."""
    if uri in _FILES:
        kind, words = _FILES[uri]
        return {"uri": uri, "mimeType": kind, "text": words}
    if uri == "test://static-binary":
        return {"uri": uri, "mimeType": "image/png", "blob": PIXEL}
    start, end = "test://template/", "/data"
    if uri.startswith(start) and uri.endswith(end):
        number = uri.removeprefix(start).removesuffix(end)
        words = f'{{"id":"{number}","templateTest":true,"data":"Data for ID: {number}"}}'
        return {"uri": uri, "mimeType": "application/json", "text": words}
    return None


def _argument(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"The argument {name}.", "required": True}


PROMPTS: Final = [
    {"name": "test_simple_prompt", "description": "A prompt without arguments."},
    {
        "name": "test_prompt_with_arguments",
        "description": "A prompt with two arguments.",
        "arguments": [_argument("arg1"), _argument("arg2")],
    },
    {
        "name": "test_prompt_with_embedded_resource",
        "description": "A prompt that embeds a resource.",
        "arguments": [_argument("resourceUri")],
    },
    {"name": "test_prompt_with_image", "description": "A prompt with an image."},
    {"name": "test_input_required_result_prompt", "description": "A prompt that asks the user first."},
]


def prompt(name: str, arguments: dict[str, str]) -> list[dict[str, Any]] | None:
    """Give the contents of a prompt's messages."""
    if name == "test_simple_prompt":
        return [text("This is a simple prompt for testing.")]
    if name == "test_prompt_with_arguments":
        return [text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    if name == "test_prompt_with_embedded_resource":
        embedded = resource(arguments["resourceUri"], "Embedded resource content for testing.")
        return [embedded, text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [IMAGE, text("Please analyze the image above.")]
    return None


def form(message: str, required: list[str] | None = None, **fields: dict[str, Any]) -> dict[str, Any]:
    """Ask the user to fill in a form; all fields are required unless those are named."""
    schema = {
        "type": "object",
        "properties": fields,
        "required": list(fields) if required is None else required,
    }
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sampling(words: str, most: int = 100) -> dict[str, Any]:
    """Ask the client's model."""
    message = {"role": "user", "content": text(words)}
    return {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": most}}


ROOTS: Final[dict[str, Any]] = {"method": "roots/list", "params": {}}

DEFAULTS: Final = form(
    "Please review the defaults",
    [],
    name={"type": "string", "default": "John Doe"},
    age={"type": "integer", "default": 30},
    score={"type": "number", "default": 95.5},
    status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    verified={"type": "boolean", "default": True},
)

_OPTIONS: Final = ["option1", "option2", "option3"]


def _titled(kind: str) -> list[dict[str, str]]:
    names = zip(("value1", "value2", "value3"), ("First", "Second", "Third"), strict=True)
    return [{"const": value, "title": f"{title} {kind}"} for value, title in names]


ENUMS: Final = form(
    "Please choose",
    [],
    untitledSingle={"type": "string", "enum": _OPTIONS},
    titledSingle={"type": "string", "oneOf": _titled("Option")},
    legacyEnum={
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    untitledMulti={"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
    titledMulti={"type": "array", "items": {"anyOf": _titled("Choice")}},
)
