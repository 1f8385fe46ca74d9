"""What there is: services with their instances, tools and health."""

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.bridge.calling import port_of
from gateway.bridge.envelope import service_missing
from gateway.bridge.finding import READING, Finder
from gateway.bridge.routing import Question
from gateway.listings import FAILURES
from gateway.relay import Relay
from gateway.routes import LiveRoute
from gateway.tools import ToolList
from gateway.upstreams.exchange import Unreachable
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.bridge import (
    BridgeTool,
    Capabilities,
    Instance,
    InstanceHealth,
    Service,
    ServiceHealth,
    ServiceList,
    ToolsAnswer,
    UpOrDown,
)
from mcp_platform.contracts.mcps import McpConfig
from mcp_platform.names import Collection
from storage.sql.services import ReplicaPlace, ServiceRecord
from storage.stores import Stores

UNCATEGORIZED: Final = "general"

_AT_ONCE: Final = 16
_MOST_CONFIGS: Final = 1_000


class Describing:
    """Answers what services and tools there are, for one caller."""

    def __init__(self, stores: Stores, relay: Relay, finder: Finder) -> None:
        self._stores = stores
        self._relay = relay
        self._finder = finder
        self._categories: OrderedDict[str, dict[str, str]] = OrderedDict()
        """By configuration, which never changes: the categories of its tools."""

    async def services(self, question: Question) -> ServiceList:
        """List the services that the caller may use."""
        async with self._stores.read() as rows:
            records = await rows.services.list()
        visible = [each for each in records if question.principal.may_use(each.mcp_id)]
        services = await self._described(question.principal, visible)
        return ServiceList(services=services, total=len(services))

    async def service(self, question: Question) -> Service:
        """Give one service."""
        record = await self.record(question.principal, question.names["serviceName"])
        return (await self._described(question.principal, [record]))[0]

    async def tools(self, question: Question) -> ToolsAnswer:
        """List the tools that the caller may call: of one service or category, if it is named."""
        name, category = question.query.get("serviceName"), question.query.get("category")
        if name is not None:
            await self.record(question.principal, name)
        async with self._stores.read() as rows:
            records = {each.slug: each for each in await rows.services.list(name)}
        live = [each for each in self._finder.visible(question.principal) if each.route.slug in records]
        lists = await self._finder.lists(live, READING)
        found: list[BridgeTool] = []
        for each in live:
            listed = lists.get(each.route.slug)
            if listed is not None:
                found += await self._tools_of(question.principal, each, records[each.route.slug], listed)
        return ToolsAnswer(tools=[tool for tool in found if category in (None, tool.category)])

    async def health(self, question: Question) -> ServiceHealth:
        """Tell which instances of a service take calls."""
        record = await self.record(question.principal, question.names["serviceName"])
        return ServiceHealth(
            service_name=record.slug,
            status=UpOrDown.UP if record.healthy else UpOrDown.DOWN,
            total_instances=max(record.wished, len(record.places)),
            healthy_instances=record.healthy,
            instances=[
                InstanceHealth(
                    instance_id=instance_id(record.slug, place.ordinal),
                    healthy=place.healthy,
                    state=_state(place),
                    reason=_reason(place),
                )
                for place in record.places
            ],
            timestamp=datetime.now(UTC),
        )

    async def record(self, principal: Principal, name: str) -> ServiceRecord:
        """Find a service that the caller may know of.

        Raises:
            Refusal: There is none of this name.
        """
        async with self._stores.read() as rows:
            found = await rows.services.list(name)
        if not found or not principal.may_use(found[0].mcp_id):
            raise service_missing(name)
        return found[0]

    async def _described(self, principal: Principal, records: list[ServiceRecord]) -> list[Service]:
        wanted = {record.slug for record in records}
        live = [each for each in self._finder.visible(principal) if each.route.slug in wanted]
        lists = await self._finder.lists(live, READING)
        capabilities = await self._capabilities(live)
        routes = {each.route.slug: each for each in live}
        services = []
        for record in records:
            listed, route = lists.get(record.slug), routes.get(record.slug)
            names = list(listed.tools) if listed is not None else []
            if route is not None:
                names = [name for name in names if self._finder.may_know(principal, route, name)]
            offered = capabilities.get(record.slug, {})
            services.append(
                Service(
                    service_name=record.slug,
                    version=record.version,
                    instances=[_instance(record, place) for place in record.places],
                    tools=names,
                    capabilities=Capabilities(
                        tools=bool(names) or "tools" in offered,
                        resources="resources" in offered,
                        prompts="prompts" in offered,
                    ),
                )
            )
        return services

    async def _capabilities(self, live: list[LiveRoute]) -> dict[str, dict[str, Any]]:
        """Ask what servers say that they offer; those that have no replica, or do not answer, say nothing."""
        turn = asyncio.Semaphore(_AT_ONCE)
        found: dict[str, dict[str, Any]] = {}

        async def ask(slug: str) -> None:
            async with turn:
                with suppress(*FAILURES, Unreachable, TimeoutError):
                    async with asyncio.timeout(READING):
                        found[slug] = (await self._relay.describe(slug, READING, None)).capabilities

        await asyncio.gather(*(ask(each.route.slug) for each in live if each.upstreams))
        return found

    async def _tools_of(
        self, principal: Principal, live: LiveRoute, record: ServiceRecord, listed: ToolList
    ) -> list[BridgeTool]:
        configured = await self._configured(record.config_key)
        tagged = next(iter(record.tags), UNCATEGORIZED)
        return [
            BridgeTool(
                name=name,
                description=str(definition.get("description") or ""),
                service_name=record.slug,
                category=configured.get(name) or _own_category(definition) or tagged,
                input_schema=_schema(definition),
            )
            for name, definition in listed.tools.items()
            if self._finder.may_know(principal, live, name)
        ]

    async def _configured(self, config_key: str) -> dict[str, str]:
        """Give the categories that an MCP's configuration gives its tools."""
        known = self._categories.get(config_key)
        if known is None:
            document = await self._stores.documents.get(Collection.CONFIGS, config_key)
            known = _categories(document)
            self._categories[config_key] = known
            if len(self._categories) > _MOST_CONFIGS:
                self._categories.popitem(last=False)
        return known


def instance_id(slug: str, ordinal: int) -> str:
    """Name the instance in a place of a service."""
    return f"{slug}-{ordinal + 1:03d}"


def _instance(record: ServiceRecord, place: ReplicaPlace) -> Instance:
    try:
        host = urlsplit(place.url).hostname or ""
    except ValueError:
        host = ""
    return Instance(
        instance_id=instance_id(record.slug, place.ordinal),
        ip=host,
        port=port_of(place.url),
        healthy=place.healthy,
        weight=place.weight,
        metadata={
            "zone": record.driver.value,
            "cluster": "default",
            "state": _state(place),
            "replicaId": str(place.replica_id),
            "revision": str(place.revision),
        },
    )


def _state(place: ReplicaPlace) -> str:
    return "offline" if place.offline else place.state.value


def _reason(place: ReplicaPlace) -> str | None:
    if place.offline:
        return "taken offline"
    return None if place.healthy else place.reason


def _categories(document: Any) -> dict[str, str]:
    try:
        config = McpConfig.model_validate(document or {})
    except ValueError:
        return {}  # made under other rules; its tools have no category by it
    named = {tool.name: (tool.model_extra or {}).get("category") for tool in config.tools}
    return {name: category for name, category in named.items() if isinstance(category, str) and category}


def _own_category(definition: dict[str, Any]) -> str | None:
    """Read the category that a server gives its tool, beside the fields that the specification knows."""
    for member in ("_meta", "annotations"):
        fields = definition.get(member)
        category = fields.get("category") if isinstance(fields, dict) else None
        if isinstance(category, str) and category:
            return category
    return None


def _schema(definition: dict[str, Any]) -> dict[str, Any]:
    schema = definition.get("inputSchema")
    return schema if isinstance(schema, dict) else {"type": "object"}
