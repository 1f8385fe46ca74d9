"""Which member of a group a request is for, and what the item is called there."""

from collections.abc import Sequence
from typing import Any, Final

from gateway.catalogue import Catalogue
from gateway.groups.merging import Namings
from gateway.groups.names import Names, Origin, Uris
from gateway.groups.templates import may_come_from
from gateway.listings import PROMPTS, RESOURCES, TEMPLATES, TOOLS, Kind
from gateway.policy.table import Policies
from gateway.requests import ClientRequest
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.groups import GroupMcp, GroupRight, GroupRoute
from mcp_platform.wire import INVALID_PARAMS, METHOD_NOT_FOUND, RESOURCE_NOT_FOUND, RpcError

_RIGHTS: Final = {
    TOOLS: GroupRight.EXECUTE,
    PROMPTS: GroupRight.READ,
    RESOURCES: GroupRight.READ,
    TEMPLATES: GroupRight.READ,
}
_BY_NAME: Final = {"tools/call": TOOLS, "prompts/get": PROMPTS}
_MOST_SIMILAR: Final = 3
_LONGEST_URI: Final = 8192
"""Characters; every template is held against it."""


def members(group: GroupRoute, caller: Principal | None) -> list[GroupMcp]:
    """List the members that the caller's credential is good for."""
    return [mcp for mcp in group.mcps if caller is None or caller.may_use(mcp.mcp_id)]


def offering(group: GroupRoute, kind: Kind) -> list[GroupMcp]:
    """List the members whose items of this kind the group shows, whoever asks."""
    return [mcp for mcp in group.mcps if _RIGHTS[kind] in mcp.permissions]


def usable(group: GroupRoute, caller: Principal | None, kind: Kind) -> list[GroupMcp]:
    """List the members whose items of this kind the caller may use."""
    return [mcp for mcp in members(group, caller) if _RIGHTS[kind] in mcp.permissions]


class Finder:
    """Finds the member that a request is for, among those that the caller may use.

    Names follow from all members, whoever asks: everybody calls a tool by the same name.
    """

    def __init__(self, catalogue: Catalogue, policies: Policies) -> None:
        self._policies = policies
        self.names: dict[Kind, Namings[Any, Names]] = {
            TOOLS: Namings(catalogue.tools, Names),
            PROMPTS: Namings(catalogue.prompts, Names),
        }
        self.uris: dict[Kind, Namings[Any, Uris]] = {
            RESOURCES: Namings(catalogue.resources, Uris),
            TEMPLATES: Namings(catalogue.templates, Uris),
        }

    def visible(self, mcp: GroupMcp, caller: Principal | None, kind: Kind, name: str) -> bool:
        """Tell whether the policy of an MCP lets the caller know of an item."""
        return kind is not TOOLS or self._policies.of(mcp.mcp_id).visible(caller, name)

    def forget(self, group: str) -> None:
        """Drop what is kept of a group."""
        for names in self.names.values():
            names.forget(group)
        for uris in self.uris.values():
            uris.forget(group)

    async def destination(self, request: ClientRequest, group: GroupRoute) -> tuple[Origin, dict[str, Any]]:
        """Give the member and the parameters to send there.

        Raises:
            RpcError: No member has it, or the method is none that goes to members.
        """
        params = request.params or {}
        kind = _BY_NAME.get(request.method)
        if kind is not None:
            origin = await self._named(request.principal, group, kind, params.get("name"))
            return origin, {**params, "name": origin.name}
        if request.method == "resources/read":
            origin = await self._located(request.principal, group, params.get("uri"))
            return origin, {**params, "uri": origin.name}
        if request.method == "completion/complete":
            return await self._completed(request.principal, group, params)
        raise RpcError(METHOD_NOT_FOUND, "Method not found", request.method)

    async def _completed(
        self, caller: Principal | None, group: GroupRoute, params: dict[str, Any]
    ) -> tuple[Origin, dict[str, Any]]:
        given = params.get("ref")
        ref = given if isinstance(given, dict) else {}
        if ref.get("type") == "ref/prompt":
            origin = await self._named(caller, group, PROMPTS, ref.get("name"))
            return origin, {**params, "ref": {**ref, "name": origin.name}}
        origin = await self._located(caller, group, ref.get("uri"))
        return origin, {**params, "ref": {**ref, "uri": origin.name}}

    async def _named(self, caller: Principal | None, group: GroupRoute, kind: Kind, name: object) -> Origin:
        wanted = name if isinstance(name, str) else ""
        mcps = offering(group, kind)
        namings = self.names[kind]
        origin = await namings.find(group.name, mcps, lambda names: names.find(wanted))
        if origin is not None and self._may(caller, group, kind, origin):
            return origin
        names = namings.of(group.name, mcps)
        similar = [
            shown
            for shown in names.similar(wanted)
            if (other := names.find(shown)) is not None and self._may(caller, group, kind, other)
        ]
        hint = f"; did you mean {', '.join(similar[:_MOST_SIMILAR])}?" if similar else ""
        raise RpcError(INVALID_PARAMS, f"Unknown {kind.member.removesuffix('s')}: {wanted}{hint}")

    async def _located(self, caller: Principal | None, group: GroupRoute, uri: object) -> Origin:
        wanted = uri if isinstance(uri, str) else ""
        if len(wanted) > _LONGEST_URI:
            raise RpcError(INVALID_PARAMS, f"The URI is longer than {_LONGEST_URI} characters")
        mcps = offering(group, RESOURCES)
        origin = await self.uris[RESOURCES].find(group.name, mcps, lambda uris: uris.find(wanted))
        if origin is None:
            origin = await self.uris[TEMPLATES].find(
                group.name, mcps, lambda templates: _expanded(templates, wanted)
            )
        if origin is None or not self._may(caller, group, RESOURCES, origin):
            raise RpcError(RESOURCE_NOT_FOUND, f"Resource not found: {wanted}", {"uri": wanted})
        return origin

    def _may(self, caller: Principal | None, group: GroupRoute, kind: Kind, origin: Origin) -> bool:
        mcp = _of_slug(usable(group, caller, kind), origin.slug)
        return mcp is not None and self.visible(mcp, caller, kind, origin.name)


def _of_slug(mcps: Sequence[GroupMcp], slug: str) -> GroupMcp | None:
    return next((mcp for mcp in mcps if mcp.slug == slug), None)


def _expanded(templates: Uris, uri: str) -> Origin | None:
    """Find whose template the URI comes from; a qualified URI says so itself."""
    found = templates.find(uri)
    if found is not None:
        return found
    owners = (slug for template, slug in templates.owners.items() if may_come_from(uri, template))
    slug = next(owners, None)
    return None if slug is None else Origin(slug, uri)
