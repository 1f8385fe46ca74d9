"""What goes to the bridge and comes back; fields that a later release adds are left alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from mcp_bridge_client.errors import BridgeError, error_of


@dataclass(frozen=True)
class Call:
    """One call of a batch."""

    tool_name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: timedelta | None = None

    def wire(self) -> dict[str, Any]:
        """Give it as it is sent."""
        body: dict[str, Any] = {"toolName": self.tool_name, "arguments": dict(self.arguments)}
        if self.timeout is not None:
            body["timeout"] = milliseconds(self.timeout)
        return body


@dataclass(frozen=True)
class ToolAnswer:
    """What a tool answered."""

    result: Any
    """Its text; where it has none, its structured content or its content blocks."""
    execution_time: timedelta
    service_instance: str
    request_id: str | None = None

    @classmethod
    def read(cls, data: Mapping[str, Any], request_id: str | None = None) -> "ToolAnswer":
        """Make it of the `data` member."""
        return cls(
            result=data.get("result"),
            execution_time=timedelta(milliseconds=data.get("executionTime", 0)),
            service_instance=str(data.get("serviceInstance", "")),
            request_id=request_id,
        )


@dataclass(frozen=True)
class BatchOutcome:
    """What came of one call of a batch: an answer, or an error."""

    tool_name: str
    answer: ToolAnswer | None = None
    error: BridgeError | None = None

    @property
    def success(self) -> bool:
        """Whether there is an answer."""
        return self.answer is not None

    @property
    def result(self) -> Any:
        """What the tool answered.

        Raises:
            BridgeError: It did not.
        """
        if self.answer is None:
            raise self.error or BridgeError("the call has neither an answer nor an error")
        return self.answer.result

    @classmethod
    def read(cls, item: Mapping[str, Any], request_id: str | None) -> "BatchOutcome":
        """Make it of one result of a batch."""
        name = str(item.get("toolName", ""))
        if item.get("success"):
            return cls(name, answer=ToolAnswer.read(item["data"], request_id))
        return cls(name, error=error_of(item.get("error") or {}, 0, request_id))


@dataclass(frozen=True)
class Instance:
    """One running copy of a service."""

    instance_id: str
    ip: str
    port: int
    healthy: bool
    weight: float
    metadata: Mapping[str, str]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "Instance":
        """Make it of JSON."""
        return cls(
            instance_id=raw["instanceId"],
            ip=raw["ip"],
            port=raw["port"],
            healthy=raw["healthy"],
            weight=raw["weight"],
            metadata=raw.get("metadata", {}),
        )


@dataclass(frozen=True)
class ServiceInfo:
    """A service, which is a deployed MCP."""

    service_name: str
    version: str
    instances: list[Instance]
    tools: list[str]
    capabilities: Mapping[str, bool]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "ServiceInfo":
        """Make it of JSON."""
        return cls(
            service_name=raw["serviceName"],
            version=raw["version"],
            instances=[Instance.read(each) for each in raw["instances"]],
            tools=list(raw["tools"]),
            capabilities=raw.get("capabilities", {}),
        )


@dataclass(frozen=True)
class Tool:
    """A tool of some service."""

    name: str
    description: str
    service_name: str
    category: str
    input_schema: Mapping[str, Any]

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> "Tool":
        """Make it of JSON."""
        return cls(
            name=raw["name"],
            description=raw["description"],
            service_name=raw["serviceName"],
            category=raw["category"],
            input_schema=raw["inputSchema"],
        )


def milliseconds(length: timedelta) -> int:
    """Give a length of time as the bridge takes it."""
    return round(length.total_seconds() * 1000)
