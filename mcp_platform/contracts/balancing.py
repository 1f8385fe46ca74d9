"""How the calls of one MCP are spread over its replicas, and how many there may be at once."""

import re
from enum import StrEnum
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, model_validator

from mcp_platform.contracts.base import Contract, Order

MOST_WEIGHT: Final = 100.0

_HEADER: Final = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
_ARGUMENT: Final = re.compile(r"^[^.]+(\.[^.]+)*$")


class Algorithm(StrEnum):
    """Which replica is asked next."""

    ROUND_ROBIN = "ROUND_ROBIN"
    """One after the other."""
    WEIGHTED_ROUND_ROBIN = "WEIGHTED_ROUND_ROBIN"
    """In turn, and each as often as its weight says."""
    LEAST_CONNECTIONS = "LEAST_CONNECTIONS"
    """The one with the fewest calls in flight for its weight."""
    LEAST_LATENCY = "LEAST_LATENCY"
    """Of two taken at random, the one that answers sooner: by its late latencies and its calls in flight."""
    CONSISTENT_HASH = "CONSISTENT_HASH"
    """The same one for the same value of a header or argument, unless it has far more than its share."""


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("must be the name of an HTTP header, such as X-Tenant")
    return value.lower()


def _path(value: str) -> str:
    if not _ARGUMENT.fullmatch(value):
        raise ValueError("must be the name of an argument, or a path of names with dots, such as user.id")
    return value


class HashBy(Order):
    """What a request is told apart by: a header, or an argument of the tool."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("header", "argument")
            ],
            "example": {"header": "X-Tenant"},
        },
    )

    header: (
        Annotated[
            str,
            Field(max_length=255, json_schema_extra={"pattern": _HEADER.pattern}),
            AfterValidator(_header),
        ]
        | None
    ) = None
    argument: (
        Annotated[
            str,
            Field(min_length=1, max_length=255, json_schema_extra={"pattern": _ARGUMENT.pattern}),
            AfterValidator(_path),
        ]
        | None
    ) = None
    """Its name; of one within others the path, with dots."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.header is None) == (self.argument is None):
            raise ValueError("exactly one of header and argument must be given")
        return self


class Breaker(Order):
    """When a replica is called no more because its calls fail; times in seconds."""

    enabled: StrictBool = True
    error_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of failed calls within the window that opens it."""
    slow_after: Annotated[float, Field(gt=0, le=3600)] | None = None
    """A call that takes longer counts as failed, though its answer is given."""
    minimum_calls: Annotated[int, Field(ge=1, le=100_000)] = 10
    """Calls within the window before it is judged at all."""
    window: Annotated[float, Field(ge=1, le=600)] = 10.0
    open_for: Annotated[float, Field(gt=0, le=600)] = 5.0
    """How long until one call is let through to see; twice as long each time that one fails, up to a
    minute, or to this where it is longer."""


class Ejection(Order):
    """When a replica that does far worse than its peers is left out for a while; times in seconds."""

    enabled: StrictBool = True
    error_margin: Annotated[float, Field(gt=0, le=1)] = 0.3
    """How far its share of failed calls may lie above that of its peers."""
    latency_factor: Annotated[float, Field(ge=1.5, le=1000)] = 5.0
    """How many times as long as its peers it may take."""
    minimum_calls: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Calls within the breaker's window before it is judged at all, and so for its peers together."""
    most: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The largest share of the replicas that is left out at once; the last one never is."""
    leave_out_for: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Times how often it happened in a row."""


class RetryBudget(Order):
    """How many calls may be sent once more, so that retries do not multiply an outage."""

    share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Of the calls of the last ten seconds."""
    per_second: Annotated[float, Field(ge=0, le=10_000)] = 3.0
    """That may be in any case, averaged over ten seconds."""


class Balancing(Order):
    """How the calls of an MCP are spread."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {
                    "not": {
                        "required": ["algorithm"],
                        "properties": {"algorithm": {"const": "CONSISTENT_HASH"}},
                    }
                },
                {"required": ["hash_by"], "properties": {"hash_by": {"type": "object"}}},
            ],
            "example": {"algorithm": "LEAST_LATENCY"},
        },
    )

    algorithm: Algorithm | None = None
    """None: the platform's own."""
    hash_by: HashBy | None = None
    """What CONSISTENT_HASH goes by."""
    breaker: Breaker = Breaker()
    ejection: Ejection = Ejection()
    retries: RetryBudget = RetryBudget()
    hedge_after: Annotated[float, Field(gt=0, le=600)] | None = None
    """Seconds after which a call of a tool that may be repeated is sent to a second replica as well; the
    first answer counts. None: never."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.algorithm is Algorithm.CONSISTENT_HASH and self.hash_by is None:
            raise ValueError("CONSISTENT_HASH needs hash_by: {header: name} or {argument: name}")
        return self


class CallLimits(Order):
    """How much of an MCP may be used at once; None: what the platform's settings say."""

    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests that are with its servers at once, by each gateway process."""
    concurrency_per_caller: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """The same of one credential."""
    queue: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Requests that wait for their turn; more are refused at once."""
    queue_timeout: Annotated[float, Field(ge=0, le=600)] | None = None
    """Seconds that they wait."""
    max_body_bytes: Annotated[int, Field(ge=1, le=1_073_741_824)] | None = None
    """The largest body of a request; never more than the platform's settings allow."""


class ReplicaOverride(Contract):
    """What an operator wishes of the replica in one place of a deployment."""

    deployment_id: UUID
    ordinal: int
    weight: Annotated[float, Field(gt=0, le=MOST_WEIGHT)] = 1.0
    """How much of the calls it gets, against the others."""
    offline: bool = False
    """Whether calls go elsewhere."""
