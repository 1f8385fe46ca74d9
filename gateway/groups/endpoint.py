"""What a client of a group's endpoint is answered: merged lists, and calls that go to the right member."""

from typing import Any, Final

from gateway.calls import Calls
from gateway.catalogue import Catalogue
from gateway.endpoint import rpc_error
from gateway.groups.finding import Finder, members, offering, usable
from gateway.groups.merging import Namings, Part, gather
from gateway.groups.names import Names, Origin
from gateway.groups.openings import Openings
from gateway.groups.table import GroupTable
from gateway.listings import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind, Listings
from gateway.news import News
from gateway.policy.table import Policies
from gateway.relay import Relay
from gateway.requests import ClientRequest, Refused, RelayedRequest
from gateway.subscriptions import serve_subscription
from gateway.tools import ToolList
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Via
from mcp_platform.contracts.groups import GroupRoute, GroupTools, ListedTool, MemberTools
from mcp_platform.errors import NotFound, PayloadTooLarge, PlatformError, RateLimited, Unavailable
from mcp_platform.wire import Era, RpcError, translate_error, translate_result

PREFIX: Final = "group/"
UNAVAILABLE_KEY: Final = "mcp-platform/unavailable"
"""In `_meta` of a list: the members that are left out, or whose part may be old, and why."""


class GroupEndpoint:
    """Answers the requests of MCP clients at `/mcp/group/{name}`."""

    def __init__(
        self,
        table: GroupTable,
        catalogue: Catalogue,
        policies: Policies,
        relay: Relay,
        calls: Calls,
        news: News,
        call_timeout: float,
    ) -> None:
        self._table = table
        self._calls = calls
        self._news = news
        self._timeout = call_timeout
        self._tools = catalogue.tools
        self._openings = Openings(relay)
        self._finder = finder = Finder(catalogue, policies)
        self._lists: dict[str, tuple[Kind, Listings[Any], Namings[Any, Any]]] = {
            TOOLS.method: (TOOLS, catalogue.tools, finder.names[TOOLS]),
            PROMPTS.method: (PROMPTS, catalogue.prompts, finder.names[PROMPTS]),
            RESOURCES.method: (RESOURCES, catalogue.resources, finder.uris[RESOURCES]),
            TEMPLATES.method: (TEMPLATES, catalogue.templates, finder.uris[TEMPLATES]),
        }
        table.on_change(finder.forget)

    async def answer(self, request: ClientRequest) -> dict[str, Any]:
        """Answer one request with its result.

        Raises:
            RpcError: The error to answer with.
        """
        try:
            group = self._find(request)
            own = await self._own_answer(request, group)
            return own if own is not None else await self._pass_on(request, group)
        except (PayloadTooLarge, RateLimited, Unavailable) as error:
            raise Refused(rpc_error(error), error.status, error.headers) from error
        except PlatformError as error:
            raise rpc_error(error) from error

    async def tools(self, name: str, caller: Principal) -> GroupTools:
        """Tell what each member of a group adds to its tools.

        Raises:
            NotFound: There is no such group, or none that this caller may know of.
        """
        group = self._table.find(name, caller)
        mcps = offering(group, TOOLS)
        parts = await gather(self._tools, mcps)
        names = self._finder.names[TOOLS].of(group.name, mcps)
        allowed = usable(group, caller, TOOLS)
        return GroupTools(mcps=[self._told(part, names, caller) for part in parts if part.mcp in allowed])

    def _told(self, part: Part[ToolList], names: Names, caller: Principal) -> MemberTools:
        listing = self._tools.last(part.mcp.slug) if part.listing is not None else None
        return MemberTools(
            mcp_id=part.mcp.mcp_id,
            slug=part.mcp.slug,
            state=part.state,
            detail=part.trouble,
            tools=[
                ListedTool(
                    name=names.shown(part.mcp.slug, name),
                    tool=name,
                    description=str(tool.get("description") or ""),
                )
                for name, tool in (listing.tools if listing is not None else {}).items()
                if self._finder.visible(part.mcp, caller, TOOLS, name)
            ],
        )

    def _find(self, request: ClientRequest) -> GroupRoute:
        name = request.endpoint.removeprefix(PREFIX)
        if request.principal is None:
            raise NotFound("group", name)
        return self._table.find(name, request.principal)

    async def _own_answer(self, request: ClientRequest, group: GroupRoute) -> dict[str, Any] | None:
        method, era, params = request.method, request.era, request.params or {}
        if method in self._lists:
            return translate_result(method, await self._list(request, group), Era.LEGACY, era)
        if method == ("server/discover" if era is Era.MODERN else "initialize"):
            usable_ones = members(group, request.principal)
            return await self._openings.describe(group, usable_ones, era, params.get("protocolVersion"))
        if method == "subscriptions/listen" and era is Era.MODERN:
            return await serve_subscription(request, self._news)
        if method == "ping" and era is Era.LEGACY:
            return {}
        return None

    async def _list(self, request: ClientRequest, group: GroupRoute) -> dict[str, Any]:
        kind, lists, namings = self._lists[request.method]
        # All of them, whoever asks: the names follow from what all have.
        mcps = offering(group, kind)
        allowed = {mcp.slug for mcp in usable(group, request.principal, kind)}
        parts = [part for part in await gather(lists, mcps) if part.mcp.slug in allowed]
        names = namings.of(group.name, mcps)
        items: list[dict[str, Any]] = []
        for part in parts:
            listing = lists.last(part.mcp.slug) if part.listing is not None else None
            if listing is None:
                continue
            for name, item in listing.items.items():
                if self._finder.visible(part.mcp, request.principal, kind, name):
                    shown = names.shown(part.mcp.slug, name)
                    items.append(item if shown == name else {**item, kind.name: shown})
        troubled = [
            {"server": part.mcp.slug, "state": part.state, "detail": part.trouble}
            for part in parts
            if part.trouble is not None
        ]
        meta = {"_meta": {UNAVAILABLE_KEY: troubled}} if troubled else {}
        return {kind.member: items, **meta}

    async def _pass_on(self, request: ClientRequest, group: GroupRoute) -> dict[str, Any]:
        try:
            origin, params = await self._finder.destination(request, group)
        except RpcError as error:
            raise translate_error(error, Era.LEGACY, request.era) from None
        result = await self._calls.send(
            RelayedRequest(
                slug=origin.slug,
                method=request.method,
                params=params,
                era=request.era,
                timeout=self._timeout,
                principal=request.principal,
                channel=request.channel,
                headers={k: v for k, v in request.headers.items() if k.startswith("mcp-param-")},
                client_headers=request.headers,
                session=request.session,
                via=Via.GROUP,
            )
        )
        return _renamed(request, origin, result)


def _renamed(request: ClientRequest, origin: Origin, result: dict[str, Any]) -> dict[str, Any]:
    """Give a resource's contents by the URI that it was asked for."""
    wanted = (request.params or {}).get("uri")
    contents = result.get("contents")
    if request.method != "resources/read" or wanted == origin.name or not isinstance(contents, list):
        return result
    return {
        **result,
        "contents": [
            {**each, "uri": wanted} if isinstance(each, dict) and each.get("uri") == origin.name else each
            for each in contents
        ],
    }
