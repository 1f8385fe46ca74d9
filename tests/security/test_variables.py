"""`${NAME}` in configurations: what may be seen, and what stays hidden."""

import pytest

from mcp_platform.variables import UnknownVariable, Variables

ENVIRONMENT = {
    "WEATHER_KEY": "k-123",
    "REGION": "eu",
    "EMPTY": "",
    "NESTED": "${REGION}",
    "HIDDEN": "do not show",
    "MCP_PLATFORM_SECURITY__MASTER_KEY": "do not show",
}
VARIABLES = Variables(
    ENVIRONMENT,
    ["WEATHER_KEY", "REGION", "EMPTY", "NESTED", "ABSENT", "MCP_PLATFORM_SECURITY__MASTER_KEY"],
)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${WEATHER_KEY}", "k-123"),
        ("https://${REGION}.example.com/?key=${WEATHER_KEY}", "https://eu.example.com/?key=k-123"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${REGION}"),
        ("$REGION", "$REGION"),
        ("${}", "${}"),
        ("${not a name}", "${not a name}"),
        ("$${REGION}", "$eu"),
    ],
)
def test_references_are_replaced_once_and_everything_else_stays(text: str, becomes: str) -> None:
    assert VARIABLES.resolve(text) == becomes


@pytest.mark.parametrize("name", ["HIDDEN", "ABSENT", "MCP_PLATFORM_SECURITY__MASTER_KEY", "region"])
def test_what_is_not_set_or_not_exposed_is_refused_alike_with_what_to_do(name: str) -> None:
    with pytest.raises(UnknownVariable) as refused:
        VARIABLES.resolve(f"x ${{{name}}}")
    assert f"${{{name}}} is not known" in str(refused.value)
    assert "MCP_PLATFORM_REPLICAS__EXPOSED_ENVIRONMENT" in str(refused.value)
    assert "do not show" not in str(refused.value)


def test_every_value_of_a_mapping_is_resolved() -> None:
    assert VARIABLES.resolve_all({"A": "${REGION}", "${REGION}": "b"}) == {"A": "eu", "${REGION}": "b"}
    with pytest.raises(UnknownVariable):
        VARIABLES.resolve_all({"A": "${REGION}", "B": "${HIDDEN}"})
