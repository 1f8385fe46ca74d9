"""What of an API's answer becomes the result of a tool."""

import base64
import re
from typing import Any, Final

import orjson

from mcp_platform.contracts.rest import ResponseMapping
from mcp_platform.errors import UpstreamFailed
from mcp_platform.variables import Mask

_SHOWN: Final = 2000
"""Characters of an error's body that are told."""
_JSON = re.compile(r"application/(?:json|[\w.+-]+\+json)", re.ASCII)
_TEXTS: Final = frozenset(
    {"application/xml", "application/javascript", "application/x-www-form-urlencoded", "application/yaml"}
)
_CHARSET = re.compile(r"charset=\"?([\w.-]+)", re.IGNORECASE)
_DECODED: Final = re.compile(
    r"utf-?8|utf-?16|utf-16[bl]e|(?:us-)?ascii|latin-?1|iso-?8859-1|(?:windows-|cp)125[0-8]"
    r"|gb2312|gbk|gb18030|big5(?:-hkscs)?|shift[-_]jis|euc-(?:jp|kr|cn)",
    re.IGNORECASE | re.ASCII,
)
"""Charsets that texts come in. An API names its own, and some of Python's codecs take very long."""


class Missing(Exception):
    """The answer has not the part that the tool gives; the message names it."""


def result_of(
    tool: str, status: int, content_type: str, body: bytes, mapping: ResponseMapping, mask: Mask
) -> dict[str, Any]:
    """Make a tool's result of an answer.

    Raises:
        UpstreamFailed: The API itself failed, or its answer is no JSON where it says so.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if status >= 500:
        raise UpstreamFailed(f"The API answered with HTTP {status}{_excerpt(kind, content_type, body, mask)}")
    if status >= 300 and status not in mapping.accept:
        advice = " (redirects are not followed)" if status < 400 else ""
        return failed(f"HTTP {status}{advice}{_excerpt(kind, content_type, body, mask)}")
    if not body:
        return _complete([_text_block(f"HTTP {status} without content")])
    if mapping.read_as == "json" or (mapping.read_as is None and (_JSON.fullmatch(kind) or mapping.pick)):
        return _json_result(body, mapping.pick)
    if mapping.read_as == "text" or not kind or kind.startswith("text/") or _is_text(kind):
        return _complete([_text_block(_decoded(content_type, body))])
    return _complete([_binary_block(tool, kind, body)])


def failed(reason: str) -> dict[str, Any]:
    """Give the result of a tool that failed."""
    return {**_complete([_text_block(reason)]), "isError": True}


def _complete(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"resultType": "complete", "content": content}


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _json_result(body: bytes, pick: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("The API's answer is not the JSON that it should be") from None
    try:
        value = _picked(value, pick) if pick else value
    except Missing as missing:
        return failed(str(missing))
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    result = _complete([_text_block(text)])
    if isinstance(value, dict):
        result["structuredContent"] = value
    return result


def _picked(value: Any, pick: str) -> Any:
    """Find a part by a JSON Pointer (RFC 6901), or by names with dots between them."""
    if pick.startswith("/"):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pick[1:].split("/")]
    else:
        steps = pick.split(".")
    for step in steps:
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Missing(f"The API's answer has no {pick}") from None
    return value


def _is_text(kind: str) -> bool:
    return bool(_JSON.fullmatch(kind)) or kind in _TEXTS or kind.endswith("+xml")


def _binary_block(tool: str, kind: str, body: bytes) -> dict[str, Any]:
    data = base64.b64encode(body).decode()
    medium = kind.partition("/")[0]
    if medium in ("image", "audio"):
        return {"type": medium, "data": data, "mimeType": kind}
    return {"type": "resource", "resource": {"uri": f"response:{tool}", "mimeType": kind, "blob": data}}


def _decoded(content_type: str, body: bytes) -> str:
    named = _CHARSET.search(content_type)
    charset = named[1] if named and _DECODED.fullmatch(named[1]) else "utf-8"
    return body.decode(charset, errors="replace")


def _excerpt(kind: str, content_type: str, body: bytes, mask: Mask) -> str:
    """Quote an error's body, if it is a text; APIs may repeat what they were sent, secrets as well."""
    if not body or not (kind.startswith("text/") or not kind or _is_text(kind)):
        return ""
    text = mask.text(_decoded(content_type, body[: 4 * _SHOWN])).strip()
    return f": {text[:_SHOWN]}" if text else ""
