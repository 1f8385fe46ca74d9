"""The bridge's bodies and answers: names in camelCase, times in ms unless said otherwise."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, field_validator
from pydantic.alias_generators import to_camel

from mcp_platform.contracts.balancing import MOST_WEIGHT, Algorithm
from mcp_platform.contracts.base import plain_json

_OUT: Final = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)
_IN: Final = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, strict=True)

RequestId = Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,128}$")]


def _to_seconds(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


BridgeMoment = Annotated[datetime, PlainSerializer(_to_seconds)]
"""A point in time, written to the second."""


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


WholeNumber = Annotated[float, PlainSerializer(_whole)]
"""A number that is written without a fraction where it has none, as many clients read it into an integer."""


class BridgeOrder(BaseModel):
    """A body. It refuses unknown fields, and values of another type than the one that is meant."""

    model_config = _IN


class BridgeAnswer(BaseModel):
    """An answer."""

    model_config = _OUT

    def wire(self) -> dict[str, Any]:
        """Give it as it is sent."""
        return self.model_dump(mode="json", by_alias=True)


class CallMetadata(BaseModel):
    """What a caller says of its call; only the id means something to us."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel)

    request_id: RequestId | None = None


class SmartCall(BridgeOrder):
    """Body of `POST /mcp/smart/call`, and one call of a batch."""

    tool_name: Annotated[str, Field(min_length=1, max_length=255)]
    arguments: dict[str, Any] = {}
    timeout: Annotated[int, Field(ge=1)] | None = None
    metadata: CallMetadata = CallMetadata()

    @field_validator("arguments")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        plain_json(value)
        return value


class Batch(BridgeOrder):
    """Body of `POST /mcp/smart/batch`."""

    calls: Annotated[list[SmartCall], Field(min_length=1)]
    parallel: bool = True
    timeout: Annotated[int, Field(ge=1)] | None = None
    """For all calls together."""
    metadata: CallMetadata = CallMetadata()


class DirectCall(BaseModel):
    """Body of `POST /mcp/bridge/route/{serviceName}`: a JSON-RPC request."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    jsonrpc: Annotated[str, Field(pattern=r"^2\.0$")] = "2.0"
    id: Annotated[str, Field(max_length=255)] | int
    method: Annotated[str, Field(min_length=1, max_length=255)]
    params: dict[str, Any] | None = None

    @field_validator("params")
    @classmethod
    def _plain(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        plain_json(value)
        return value


class LoadBalancerChange(BridgeOrder):
    """What may be changed of the load balancer; what is left out stays."""

    algorithm: Annotated[Algorithm, Field(strict=False)] | None = None
    health_check_interval: Annotated[float, Field(ge=1, le=3600)] | None = None
    """In seconds."""

    @field_validator("algorithm")
    @classmethod
    def _by_itself(cls, value: Algorithm | None) -> Algorithm | None:
        if value is Algorithm.CONSISTENT_HASH:
            raise ValueError("needs a header or argument to go by: set it in an MCP's own policy")
        return value


class ConnectionPoolChange(BridgeOrder):
    """What may be changed of the connections to servers; what is left out stays."""

    max_connections: Annotated[int, Field(ge=1, le=100_000)] | None = None
    connection_timeout: Annotated[int, Field(ge=1, le=600_000)] | None = None


class ConfigChange(BridgeOrder):
    """Body of `PUT /mcp/bridge/config`."""

    load_balancer: LoadBalancerChange = LoadBalancerChange()
    connection_pool: ConnectionPoolChange = ConnectionPoolChange()


class WeightChange(BridgeOrder):
    """Body of `PUT …/instances/{instanceId}/weight`."""

    weight: Annotated[float, Field(gt=0, le=MOST_WEIGHT)]


class LoadBalancerConfig(BridgeAnswer):
    """How calls are spread where an MCP's own policy does not say."""

    algorithm: Algorithm
    health_check_interval: WholeNumber
    """In seconds."""


class ConnectionPoolConfig(BridgeAnswer):
    """The connections of one gateway process to all servers together."""

    max_connections: int
    connection_timeout: int


class BridgeConfig(BridgeAnswer):
    """Answer to `GET /mcp/bridge/config`."""

    load_balancer: LoadBalancerConfig
    connection_pool: ConnectionPoolConfig


class Metadata(BridgeAnswer):
    """What every answer in an envelope says of itself."""

    request_id: str
    timestamp: BridgeMoment
    version: str


class CallData(BridgeAnswer):
    """What came of a smart call."""

    result: Any
    """The result's text; where it has none, its structured content or its content blocks."""
    execution_time: int
    service_instance: str
    """`<service>:<port of the instance>`."""


class Instance(BridgeAnswer):
    """A replica."""

    instance_id: str
    ip: str
    port: int
    healthy: bool
    """Whether it takes calls."""
    weight: float
    metadata: dict[str, str]


class Capabilities(BridgeAnswer):
    """What a service offers."""

    tools: bool
    resources: bool
    prompts: bool


class Service(BridgeAnswer):
    """A deployed MCP."""

    service_name: str
    version: str
    instances: list[Instance]
    tools: list[str]
    capabilities: Capabilities


class ServiceList(BridgeAnswer):
    """Answer to `GET /mcp/bridge/services`."""

    services: list[Service]
    total: int


class BridgeTool(BridgeAnswer):
    """A tool of some service."""

    name: str
    description: str
    service_name: str
    category: str
    input_schema: dict[str, Any]


class ToolsAnswer(BridgeAnswer):
    """Answer to `GET /mcp/bridge/tools`."""

    tools: list[BridgeTool]


class UpOrDown(StrEnum):
    """Spring's words for health."""

    UP = "UP"
    DOWN = "DOWN"
    UNKNOWN = "UNKNOWN"


class Component(BridgeAnswer):
    """One part by itself."""

    status: UpOrDown
    details: dict[str, Any] = {}


class ActuatorHealth(BridgeAnswer):
    """Answer to `GET /actuator/health`."""

    status: UpOrDown
    components: dict[str, Component]


class InstanceHealth(BridgeAnswer):
    """One replica's health."""

    instance_id: str
    healthy: bool
    state: str
    reason: str | None


class ServiceHealth(BridgeAnswer):
    """Answer to `GET /mcp/bridge/health/{serviceName}`."""

    service_name: str
    status: UpOrDown
    total_instances: int
    healthy_instances: int
    instances: list[InstanceHealth]
    timestamp: BridgeMoment


class InstanceChanged(BridgeAnswer):
    """Answer to what takes an instance out of rotation, puts it back or changes its weight."""

    service_name: str
    instance_id: str
    offline: bool
    weight: float


class ConnectionsChanged(BridgeAnswer):
    """Answer to a reset or a cleanup: what the process that answers did; the others do the same."""

    closed: int
    opened: int
    gateways: int
    """How many processes were told, this one included."""
