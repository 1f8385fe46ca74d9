"""OpenAPI documents, read as configurations."""

import time
from pathlib import Path
from typing import Any

import pytest

from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.formats.openapi import Choice, NoOpenApi, Reading, read_document, read_openapi
from mcp_platform.formats.openapi.document import References
from mcp_platform.formats.openapi.schemas import Schemas

DOCUMENTS = Path(__file__).parent / "documents"
ALL = Choice()


def read(name: str, base_url: str | None = None, choice: Choice = ALL) -> Reading:
    """Read one of the documents; what comes of it is always valid."""
    reading = read_openapi(read_document((DOCUMENTS / name).read_text()), base_url, choice, "shop")
    McpConfig.model_validate(reading.config)
    return reading


def tools(reading: Reading) -> dict[str, Any]:
    """Give the tools by name."""
    return {tool["name"]: tool for tool in reading.config["tools"]}


def small(**operation: Any) -> dict[str, Any]:
    """Give a document of one operation."""
    servers = [{"url": "https://api.example.com"}]
    return {"openapi": "3.1.0", "servers": servers, "paths": {"/a/{id}": {"get": operation}}}


def test_each_operation_becomes_a_tool_and_what_cannot_is_told_with_its_reason() -> None:
    reading = read("petstore.yaml")
    assert list(tools(reading)) == [
        "addPet",
        "findPetsByStatus",
        "getPetById",
        "replacePet",
        "updatePetWithForm",
        "delete_pet_petId",
        "get_pet_by_id",
    ]
    assert reading.skipped == {
        "GET /pet/findByStatus (in part)": "left out: the parameter session, which belongs into cookie",
        "HEAD /pet/{petId}": "HEAD gives nothing that a tool could",
        "POST /pet/{petId}/uploadImage": "it takes files (multipart), which no argument can be",
        "GET /elsewhere": "it is served at an address of its own",
    }
    assert reading.config["servers"][0]["url"] == "https://eu.pets.example.com/v3"
    assert tools(reading)["delete_pet_petId"]["description"].startswith("Deprecated.")


def test_parameters_of_all_places_are_one_schema() -> None:
    tool = tools(read("petstore.yaml"))["findPetsByStatus"]
    assert tool["parameters"] == {
        "type": "object",
        "properties": {
            "status": {
                "type": "string",
                "enum": ["available", "pending", "sold"],
                "default": "available",
                "description": "What is wanted",
            },
            "tags": {"type": "array", "items": {"type": "string"}},
            "filter_name": {"type": "string"},
            "X-Request-ID": {"type": "string"},
        },
    }
    assert tool["request"]["query"] == {
        "status": "{status}",
        "tags": {"value": "{tags}", "style": "comma"},
        "filter[name]": "{filter_name}",
    }


def test_a_body_of_known_fields_is_spread_over_the_arguments_and_fields_of_answers_are_left_out() -> None:
    found = tools(read("petstore.yaml"))
    added = found["addPet"]
    assert set(added["parameters"]["properties"]) == {"name", "category", "photoUrls"}
    assert added["parameters"]["required"] == ["name"]
    assert added["request"]["body"] == {
        "name": "{name}",
        "category": "{category}",
        "photoUrls": "{photoUrls}",
    }
    # A category refers to its parent, which is one, too.
    category = added["parameters"]["$defs"]["Category"]
    assert category["properties"]["parent"] == {"$ref": "#/$defs/Category"}
    assert category["properties"]["name"] == {"type": ["string", "null"]}


def test_equal_names_in_path_and_body_are_kept_apart() -> None:
    tool = tools(read("petstore.yaml"))["updatePetWithForm"]
    assert tool["request"]["path"] == "/pet/{petId}"
    assert tool["request"]["body"]["petId"] == "{petId_body}"
    assert tool["request"]["body_type"] == "form"
    assert tool["parameters"]["required"] == ["petId"], "the form as a whole may be left out"
    number = tool["parameters"]["properties"]["petId"]
    assert number == {"type": "integer", "format": "int64", "exclusiveMinimum": 0}


def test_security_schemes_become_references_to_secrets() -> None:
    reading = read("petstore.yaml")
    found = tools(reading)
    assert found["addPet"]["request"]["headers"] == {"X-Api-Key": "${SHOP_API_KEY}"}
    assert found["getPetById"]["request"]["headers"] == {"Authorization": "Bearer ${SHOP_PETSTORE_AUTH}"}
    assert "headers" not in found["get_pet_by_id"]["request"], "it needs no credential"
    assert set(reading.secrets) == {"SHOP_API_KEY", "SHOP_PETSTORE_AUTH"}
    # What all tools send is the server's.
    shop = read("shop.json", "https://shop.example.com")
    assert shop.config["servers"][0]["headers"] == {"Authorization": "Bearer ${SHOP_BEARER}"}


def test_a_document_of_3_1_with_choices_lists_and_circles_is_read() -> None:
    reading = read("shop.json", "https://shop.example.com/v1")
    found = tools(reading)
    assert set(found) == {"pay", "listItems", "changeItems"}
    pay = found["pay"]["parameters"]
    assert found["pay"]["request"]["body"] == "{body}"
    assert pay["properties"]["body"]["oneOf"] == [
        {"$ref": "#/$defs/Card"},
        {"$ref": "#/$defs/Transfer", "description": "From a bank"},
    ]
    assert set(pay["$defs"]) == {"Card", "Transfer"}
    changed = found["changeItems"]
    assert changed["request"]["headers"] == {"Content-Type": "application/merge-patch+json"}
    assert "$id" not in changed["parameters"]["$defs"]["Node"]
    assert found["listItems"]["request"]["query"] == {
        "ids": "{ids}",
        "range": {"value": "{range}", "style": "deep"},
        "where": {"value": "{where}", "style": "json"},
    }
    assert reading.skipped == {
        "POST /remote": "it refers to another document: https://evil.example.com/a.json",
        "GET /circle": "its references go round in a circle",
        "GET /mutual": "its security scheme tls (mutualTLS) is not supported",
        "POST /xml": "its body is application/xml; JSON and forms are supported",
    }


def test_operations_are_chosen_by_name_place_and_tag() -> None:
    def names(**choice: Any) -> set[str]:
        return set(tools(read("petstore.yaml", choice=Choice(**choice))))

    assert names(operations=["addPet", "GET /pet/{petId}"]) == {"addPet", "getPetById"}
    assert names(tags=["store"]) == {"get_pet_by_id"}
    assert "addPet" not in names(without_operations=["addPet"])
    assert names(without_tags=["pet"]) == {"get_pet_by_id"}
    reading = read("petstore.yaml", choice=Choice(operations=["addPet", "nothing"]))
    assert reading.skipped["nothing"] == "the document has no such operation"


def test_names_are_unique_and_short() -> None:
    document = small(operationId="x" * 100)
    document["paths"]["/b"] = {"get": {"operationId": "x" * 90}}
    names = list(tools(read_openapi(document, None, ALL, "a")))
    assert [len(name) for name in names] == [64, 64]
    assert names[0] != names[1]


def test_many_schemas_of_one_name_are_told_apart_in_no_time() -> None:
    many = 3000
    names = [f"p{number}" for number in range(many)]
    schemas = Schemas(References({"x": {name: {"a": {}, "a_2": {}} for name in names}}))
    began = time.thread_time()  # the process has other threads
    schemas.translate({"anyOf": [{"$ref": f"#/x/{name}/{last}"} for name in names for last in ("a_2", "a")]})
    assert len(schemas.definitions) == 2 * many
    assert time.thread_time() - began < 2


def test_a_place_in_the_path_that_nothing_describes_is_an_argument() -> None:
    (tool,) = read_openapi(small(), None, ALL, "a").config["tools"]
    assert tool["parameters"]["required"] == ["id"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("a: [", "is no YAML"),
        ("[1]", "is no object"),
        ("a: &x [1]\nb: *x", "alias"),
        ("swagger: '2.0'", "Swagger 2.0"),
        ("openapi: 3.2.0\npaths: {}", "3.0 and 3.1"),
        ("openapi: 3.1.0", "has no paths"),
        ("openapi: 3.1.0\npaths: {}\nservers: [{url: 'https://a.example.com'}]", "no operation"),
        ("a: !!python/object/apply:os.getcwd []", "is no YAML"),
        ("a: " + "[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_document_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(NoOpenApi, match=reason):
        read_openapi(read_document(text), None, ALL, "a")


def test_a_document_that_does_not_say_where_the_api_is_needs_to_be_told() -> None:
    with pytest.raises(NoOpenApi, match="give base_url"):
        read("shop.json")
