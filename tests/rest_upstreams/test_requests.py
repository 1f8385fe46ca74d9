"""What a call becomes: places are filled, and nothing else can be changed by arguments."""

from typing import Any

import pytest

from gateway.rest_upstreams.requests import BadArguments, Outgoing, Request
from gateway.rest_upstreams.responses import result_of
from mcp_platform.contracts.mcps import McpConfig, ToolConfig
from mcp_platform.contracts.rest import ResponseMapping, ToolRequest
from mcp_platform.errors import UpstreamFailed
from mcp_platform.templates import Template, escape
from mcp_platform.variables import Mask, Variables

BASE = "https://api.example.com/v1/"
SECRETS = Variables({}, [], {"KEY": "s{x}cret", "OTHER": "other"})


def fill(request: dict[str, Any], base: str = BASE, **arguments: Any) -> Outgoing:
    """Make the request of a call."""
    properties: dict[str, Any] = {key: {} for key in ToolRequest.model_validate(request).places}
    tool = ToolConfig.model_validate({"name": "t", "parameters": properties, "request": request})
    return Request(tool, base, {"X-Server": "api"}, SECRETS).fill(arguments)


def url(request: dict[str, Any], **arguments: Any) -> str:
    """Give what follows the host."""
    return fill(request, **arguments).url.removeprefix("https://api.example.com")


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a b", "a%20b"),
        ("a/b;c", "a%2Fb%3Bc"),
        ("..a/.b/c.", "..a%2F.b%2Fc."),
        ("%41", "%2541"),
        ("x?y=1#z", "x%3Fy%3D1%23z"),
        ("@evil.example.com", "%40evil.example.com"),
        ("ü\r\nHost: evil", "%C3%BC%0D%0AHost%3A%20evil"),
        ("${KEY}", "%24%7BKEY%7D"),
        (7, "7"),
        (True, "true"),
        ([1, "a,b"], "1,a%2Cb"),
    ],
)
def test_an_argument_in_the_path_stays_one_part_of_it(given: Any, written: str) -> None:
    assert url({"path": "/pets/{id}/toys"}, id=given) == f"/v1/pets/{written}/toys"


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "..",
        None,
        [],
        "../../admin",
        "a/../b",
        "a/.",
        "..\\admin",
        "..;x/admin",
        "%2e%2e",
        "%2e%2e%2fadmin",
        "a%5c..%5cb",
        "..%3bx",
    ],
)
def test_an_argument_that_would_lead_to_another_address_is_refused(given: Any) -> None:
    with pytest.raises(BadArguments):
        fill({"path": "/pets/{id}"}, id=given)
    with pytest.raises(BadArguments):
        fill({"path": "/pets/{id}{more}"}, id=".", more=".")
    with pytest.raises(BadArguments):
        fill({"path": "/pets/{id}.{more}"}, id="a/", more="/b")


def test_an_argument_that_is_missing_in_the_path_is_told() -> None:
    with pytest.raises(BadArguments, match="id is needed"):
        fill({"path": "/pets/{id}"})


@pytest.mark.parametrize(
    ("style", "value", "written"),
    [
        ("repeat", ["a", "b&c=d"], "q=a&q=b%26c%3Dd"),
        ("comma", ["a", "b,c"], "q=a,b%2Cc"),
        ("space", ["a", "b"], "q=a%20b"),
        ("pipe", ["a", "b"], "q=a%7Cb"),
        ("deep", {"from": 1, "to": "x y"}, "q[from]=1&q[to]=x%20y"),
        ("repeat", {"from": 1}, "from=1"),
        ("comma", {"from": 1}, "q=from,1"),
        ("json", {"a": [1]}, "q=%7B%22a%22%3A%5B1%5D%7D"),
        ("repeat", "a b", "q=a%20b"),
        ("repeat", None, ""),
        ("repeat", [], ""),
    ],
)
def test_lists_and_objects_stand_in_the_query_as_the_api_wants_them(
    style: str, value: Any, written: str
) -> None:
    made = url({"query": {"q": {"value": "{v}", "style": style}, "fixed": "a+b"}, "path": "/p"}, v=value)
    assert made == "/v1/p?" + "&".join(filter(None, [written, "fixed=a%2Bb"]))


def test_an_object_cannot_overwrite_another_parameter_of_the_query() -> None:
    request = {"query": {"where": "{where}", "key": "${KEY}"}}
    assert url(request, where={"a": 1}) == "/v1/?a=1&key=s%7Bx%7Dcret"
    with pytest.raises(BadArguments, match="key"):
        fill(request, where={"key": "mine"})


def test_what_names_an_argument_that_is_not_given_is_left_out() -> None:
    request = {
        "method": "POST",
        "query": {"a": "{a}", "b": "x-{b}"},
        "headers": {"X-A": "{a}"},
        "body": {"a": "{a}", "deep": {"b": "{b}", "c": "{c}"}, "list": ["{a}", "{c}", 3]},
    }
    made = fill(request, c=None)
    assert "?" not in made.url
    assert "X-A" not in made.headers
    assert made.body == b'{"deep":{"c":null},"list":[null,3]}'


def test_arguments_keep_their_types_in_a_json_body() -> None:
    made = fill(
        {"method": "PUT", "body": {"n": "{n}", "t": "n is {n}", "o": "{o}", "braces": "{{n}}"}},
        n=1.5,
        o={"x": [True]},
    )
    assert made.body == b'{"n":1.5,"t":"n is 1.5","o":{"x":[true]},"braces":"{n}"}'
    assert made.headers["Content-Type"] == "application/json"
    whole = fill({"method": "POST", "body": "{body}"}, body=[1])
    assert whole.body == b"[1]"
    assert fill({"method": "POST", "body": "{body}"}).body == b""


def test_a_form_is_written_as_browsers_do() -> None:
    form = {"method": "POST", "body_type": "form", "body": {"a": "{a}", "b": "{b}", "c": "{c}", "d": "{d}"}}
    made = fill(form, a="x y&z", b=[1, 2], c={"k": 1}, d=None)
    assert made.body == b"a=x%20y%26z&b=1&b=2&c=%7B%22k%22%3A1%7D"
    assert made.headers["Content-Type"] == "application/x-www-form-urlencoded"


def test_secrets_are_put_in_where_the_author_wrote_them_and_nowhere_else() -> None:
    request = {
        "method": "POST",
        "headers": {"Authorization": "Bearer ${KEY}", "X-Note": "{note}"},
        "body": {"key": "${OTHER}", "note": "{note}"},
    }
    made = fill(request, note="${KEY}", x="filled")
    # The value of a secret is no template, and that of an argument no reference.
    assert made.headers["Authorization"] == "Bearer s{x}cret"
    assert made.headers["X-Note"] == "${KEY}"
    assert made.body == b'{"key":"other","note":"${KEY}"}'
    assert "s{x}cret" not in repr(made)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "日本"])
def test_an_argument_cannot_add_a_header(value: str) -> None:
    with pytest.raises(BadArguments, match="X-Note"):
        fill({"headers": {"X-Note": "{note}"}}, note=value)


def test_a_tool_header_replaces_the_server_header_and_the_base_keeps_its_query() -> None:
    made = fill({"path": "/a", "headers": {"x-server": "tool"}}, "https://api.example.com/v1?key=1")
    assert made.url == "https://api.example.com/v1/a?key=1"
    assert {name.lower(): value for name, value in made.headers.items()}["x-server"] == "tool"
    assert fill({}).headers["X-Server"] == "api"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"path": "pets"}, "must begin with /"),
        ({"path": "/a?b=1"}, "no path may have"),
        ({"path": "/a/../b"}, "between its slashes"),
        ({"path": "/{unknown}"}, "no parameter: unknown"),
        ({"headers": {"Host": "evil"}}, "by the platform alone"),
        ({"headers": {"X": "a\nb"}}, "no HTTP header may have"),
        ({"body": {}}, "has no body"),
        ({"method": "POST", "body_type": "form", "body": [1]}, "object of its fields"),
        ({"method": "CONNECT"}, "Input should be"),
        ({"verb": "GET"}, "Extra inputs"),
    ],
)
def test_a_request_that_cannot_be_is_refused_when_it_is_configured(
    request_: dict[str, Any], reason: str
) -> None:
    config = {"servers": [{"url": BASE}], "tools": [{"name": "t", "request": request_}]}
    with pytest.raises(ValueError, match=reason):
        McpConfig.model_validate(config)


def test_the_only_url_is_an_api_where_tools_say_how_it_is_asked() -> None:
    tools = [{"name": "t", "request": {"path": "/a"}}]
    assert McpConfig.model_validate({"servers": [{"url": BASE}], "tools": tools}).servers[0].is_rest
    assert (
        not McpConfig.model_validate({"servers": [{"url": BASE}], "tools": [{"name": "t"}]})
        .servers[0]
        .is_rest
    )
    two = [{"name": "a", "url": BASE}, {"name": "b", "url": BASE}]
    with pytest.raises(ValueError, match="the type rest"):
        McpConfig.model_validate({"servers": two, "tools": tools})
    with pytest.raises(ValueError, match="one server may be of type rest"):
        McpConfig.model_validate({"servers": [{**each, "type": "rest"} for each in two]})
    with pytest.raises(ValueError, match="needs the url"):
        McpConfig.model_validate({"servers": [{"command": "x", "type": "rest"}]})
    # As other programs write it, which changes nothing.
    assert not McpConfig.model_validate({"servers": [{"url": BASE, "type": "sse"}]}).servers[0].is_rest


def test_braces_that_are_meant_are_written_twice() -> None:
    template = Template.parse(escape("{a} ${B}"))
    assert template.names == set()
    assert template.fill(str) == "{a} ${B}"


def result(status: int, kind: str, body: bytes, **mapping: Any) -> dict[str, Any]:
    """Map an answer."""
    return result_of("t", status, kind, body, ResponseMapping(**mapping), Mask(["topsecret"]))


def test_json_is_given_as_structure_and_as_text() -> None:
    found = result(200, "application/json; charset=utf-8", b'{"a": 1}')
    assert found["structuredContent"] == {"a": 1}
    assert found["content"] == [{"type": "text", "text": '{"a":1}'}]
    assert "structuredContent" not in result(200, "application/vnd.api+json", b"[1]")


@pytest.mark.parametrize(
    ("pick", "text"),
    [("/data/0/id", "7"), ("data.0.id", "7"), ("/a~1b", '"'), ("data.0", '{"id":7}')],
)
def test_a_part_of_an_answer_is_picked(pick: str, text: str) -> None:
    body = b'{"data": [{"id": 7}], "a/b": "\\""}'
    assert result(200, "application/json", body, pick=pick)["content"][0]["text"] == text
    assert result(200, "application/json", b"{}", pick=pick)["isError"]


def test_other_kinds_are_given_as_what_they_are() -> None:
    assert result(200, "text/csv; charset=latin-1", "ü".encode("latin-1"))["content"][0]["text"] == "ü"
    assert result(200, "image/png", b"x")["content"] == [
        {"type": "image", "data": "eA==", "mimeType": "image/png"}
    ]
    blob = result(200, "application/pdf", b"x")["content"][0]["resource"]
    assert blob == {"uri": "response:t", "mimeType": "application/pdf", "blob": "eA=="}
    assert "204" in result(204, "", b"")["content"][0]["text"]


def test_a_text_is_decoded_by_charsets_of_texts_alone() -> None:
    def text(charset: str, body: bytes) -> str:
        shown: str = result(200, f"text/plain; charset={charset}", body)["content"][0]["text"]
        return shown

    for charset in ("ISO-8859-1", "windows-1252", "utf-16", "gb18030", "Big5", "Shift_JIS", "EUC-KR"):
        word = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" if charset[0] in "gBSE" else "\N{POUND SIGN}"
        assert text(charset, word.encode(charset)) == word
    # Quadratic, and others that make something else of the bytes.
    for charset in ("punycode", "idna", "utf-7", "unicode_escape", "unknown"):
        assert text(charset, b"a-b+AGE-\\x41\xff") == "a-b+AGE-\\x41\N{REPLACEMENT CHARACTER}"


def test_errors_of_the_caller_are_results_and_errors_of_the_api_are_failures() -> None:
    refused = result(404, "application/json", b'{"error": "no pet, topsecret"}')
    assert refused["isError"]
    assert refused["content"][0]["text"] == 'HTTP 404: {"error": "no pet, ***"}'
    assert "isError" not in result(404, "application/json", b"{}", accept=[404])
    assert "not followed" in result(302, "", b"")["content"][0]["text"]
    assert len(result(400, "text/plain", b"x" * 100_000)["content"][0]["text"]) < 2100
    with pytest.raises(UpstreamFailed, match="503: busy"):
        result(503, "text/plain", b"busy")
    with pytest.raises(UpstreamFailed, match="not the JSON"):
        result(200, "application/json", b"<html>")
