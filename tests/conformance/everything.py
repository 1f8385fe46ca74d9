"""A server with all that the official conformance suite asks a server for.

`python -m tests.conformance.everything --port 3001`, with `--transport http|sse|stdio` and
`--era both|legacy|modern`. It writes its port to standard output; port 0 is any that is free.
"""

import argparse
import asyncio
import json
import socket
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
import uvicorn
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.runner import serve_loop
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from tests.conformance import offers
from tests.conformance.asking import MODERN, Asking, Context, InputNeeded
from tests.conformance.jobs import EXTENSION, Jobs

Words = str
_STEP = 0.05
"""Seconds between the steps of a tool that reports."""


class Everything:
    """The handlers of the server."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._cancelled = 0
        self._watchers: dict[str, list[Context]] = {}
        self._sessions: dict[int, Context] = {}
        """The newest request of each client of the older protocol, by its connection."""
        self._tools: dict[str, Callable[[Context, Asking, dict[str, Any]], Awaitable[Words]]] = {
            "test_tool_with_logging": self._log,
            "test_logging_tool": self._log,
            "test_tool_with_progress": self._progress,
            "test_streaming_elicitation": self._progress_and_ask,
            "test_slow": self._slow,
            "test_trigger_tool_change": self._change_tools,
            "test_trigger_prompt_change": self._change_prompts,
            "test_trigger_resource_update": self._change_resource,
        }

    async def remember(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Remember clients of the older protocol: changes are told to all of them."""
        if ctx.protocol_version != MODERN:
            self._sessions[id(ctx.session._connection)] = ctx
        return await call_next(ctx)

    async def list_tools(self, ctx: Context, params: Any) -> types.ListToolsResult:
        """List the tools."""
        return types.ListToolsResult.model_validate({"tools": offers.TOOLS})

    async def call_tool(
        self, ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Call a tool."""
        name, arguments = params.name, params.arguments or {}
        if name not in offers.SCHEMA_OF:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {name}")
        content = offers.ANSWERS.get(name)
        if content is None:
            asking = Asking(ctx, params)
            own = self._tools.get(name)
            try:
                words = await (own(ctx, asking, arguments) if own else self._plain(name, asking, arguments))
            except InputNeeded as needed:
                return needed.result
            content = [offers.text(words)]
        failed = name == "test_error_handling"
        return types.CallToolResult.model_validate({"content": content, "isError": failed})

    async def _plain(self, name: str, asking: Asking, arguments: dict[str, Any]) -> Words:
        if name.startswith("test_input_required_result_"):
            return await _rounds(name.removeprefix("test_input_required_result_"), asking)
        if name == "test_error_handling":
            return "This tool intentionally returns an error for testing"
        if name == "test_sampling":
            answer = (await asking.ask(answer=offers.sampling(arguments["prompt"])))["answer"]
            return f"LLM response: {answer['content']['text']}"
        if name == "test_roots":
            roots = (await asking.ask(roots=offers.ROOTS))["roots"]
            return ", ".join(str(root["uri"]) for root in roots["roots"])
        if name == "test_missing_capability":
            asking.need("sampling")
        if name == "greet":
            return f"Hello, {arguments['name']}!"
        if name == "test_cancelled_calls":
            return str(self._cancelled)
        forms = {
            "test_elicitation": offers.form(
                str(arguments.get("message")),
                username={"type": "string", "description": "User's response"},
                email={"type": "string", "description": "User's email address"},
            ),
            "test_elicitation_sep1034_defaults": offers.DEFAULTS,
            "test_elicitation_sep1330_enums": offers.ENUMS,
        }
        if name in forms:
            return _told(name, (await asking.ask(answer=forms[name]))["answer"])
        return json.dumps(arguments)

    async def _log(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                await ctx.session.send_log_message("info", words, related_request_id=ctx.request_id)
            await asyncio.sleep(_STEP)
        return "Logged three messages"

    async def _progress(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        for done in (0, 50, 100):
            await ctx.session.report_progress(done, 100)
            await asyncio.sleep(_STEP)
        return "Reported three steps"

    async def _progress_and_ask(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        await ctx.session.report_progress(50, 100)
        answer = await asking.ask(name=offers.form("What is your name?", name={"type": "string"}))
        return json.dumps(answer["name"])

    async def _slow(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        try:
            await ctx.session.report_progress(0)  # who asks for it knows that the call is here
            await asyncio.sleep(float(arguments.get("seconds", 60)))
        except asyncio.CancelledError:
            self._cancelled += 1
            raise
        return "Slept"

    async def _change_tools(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        await self.bus.publish(ToolsListChanged())
        for each in list(self._sessions.values()):
            await each.session.send_tool_list_changed()
        return "Told"

    async def _change_prompts(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        await self.bus.publish(PromptsListChanged())
        for each in list(self._sessions.values()):
            await each.session.send_prompt_list_changed()
        return "Told"

    async def _change_resource(self, ctx: Context, asking: Asking, arguments: dict[str, Any]) -> Words:
        uri = str(arguments["uri"])
        await self.bus.publish(ResourceUpdated(uri=uri))
        for watcher in self._watchers.get(uri, []):
            await watcher.session.send_resource_updated(uri)
        return "Told"

    async def list_resources(self, ctx: Context, params: Any) -> types.ListResourcesResult:
        """List the resources."""
        return types.ListResourcesResult.model_validate({"resources": offers.RESOURCES})

    async def list_templates(self, ctx: Context, params: Any) -> types.ListResourceTemplatesResult:
        """List the templates."""
        return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": offers.TEMPLATES})

    async def read(self, ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        """Read a resource."""
        uri = str(params.uri)
        content = offers.read(uri)
        if content is None:
            code = types.INVALID_PARAMS if ctx.protocol_version == MODERN else -32002
            raise MCPError(code, "Resource not found", {"uri": uri})
        return types.ReadResourceResult.model_validate({"contents": [content]})

    async def subscribe(self, ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """Tell this client of changes."""
        self._watchers.setdefault(str(params.uri), []).append(ctx)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """Tell nobody any more; the fixture does not tell its clients apart."""
        self._watchers.pop(str(params.uri), None)
        return types.EmptyResult()

    async def list_prompts(self, ctx: Context, params: Any) -> types.ListPromptsResult:
        """List the prompts."""
        return types.ListPromptsResult.model_validate({"prompts": offers.PROMPTS})

    async def get_prompt(
        self, ctx: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """Give a prompt."""
        contents = offers.prompt(params.name, params.arguments or {})
        if params.name == "test_input_required_result_prompt":
            question = offers.form("What context should the prompt use?", context={"type": "string"})
            try:
                answers = await Asking(ctx, params).ask(user_context=question)
            except InputNeeded as needed:
                return needed.result
            contents = [offers.text(f"Use this context: {json.dumps(answers['user_context'])}")]
        if contents is None:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
        messages = [{"role": "user", "content": content} for content in contents]
        return types.GetPromptResult.model_validate({"messages": messages})

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Complete an argument."""
        known = ["paris", "park", "party"]
        values = [word for word in known if word.startswith(params.argument.value)]
        found = {"completion": {"values": values, "total": len(values), "hasMore": False}}
        return types.CompleteResult.model_validate(found)

    async def set_level(self, ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        """Accept a level; the fixture logs at one level only."""
        return types.EmptyResult()


def _told(name: str, answer: dict[str, Any]) -> Words:
    content = json.dumps(answer.get("content") or {})
    if name == "test_elicitation":
        return f"User response: action={answer['action']}, content={content}"
    return f"Elicitation completed: action={answer['action']}, content={content}"


async def _rounds(kind: str, asking: Asking) -> Words:
    """Serve the tools of SEP-2322; in the older protocol the same questions are requests."""
    name = offers.form("What is your name?", name={"type": "string"})
    if kind == "elicitation":
        user = (await asking.ask(user_name=name))["user_name"]
        return f"Hello, {(user.get('content') or {}).get('name')}!"
    if kind == "sampling":
        question = offers.sampling("What is the capital of France?")
        return str((await asking.ask(capital_question=question))["capital_question"]["content"]["text"])
    if kind == "list_roots":
        return json.dumps((await asking.ask(client_roots=offers.ROOTS))["client_roots"])
    if kind == "multiple_inputs":
        greeting = offers.sampling("Generate a greeting", 50)
        return json.dumps(await asking.ask(user_name=name, greeting=greeting, client_roots=offers.ROOTS))
    if kind == "multi_round":
        first = await asking.ask(step1=offers.form("Step 1: What is your name?", name={"type": "string"}))
        colour = offers.form("Step 2: What is your favorite color?", color={"type": "string"})
        return json.dumps({**first, **await asking.ask(step2=colour)})
    if kind == "capabilities":
        offered = {"elicitation": name, "sampling": offers.sampling("Say hello")}
        possible = {key: request for key, request in offered.items() if key in asking.capabilities}
        return json.dumps(await asking.ask(**possible))
    await asking.ask(confirm=offers.form("Please confirm", ok={"type": "boolean"}))
    return "state-ok" if asking.had_state or not asking.modern else "state lost"


class _Server(Server[Any]):
    """Says that all lists may change, in the older protocol too."""

    def get_capabilities(
        self, notification_options: NotificationOptions | None = None, *given: Any, **named: Any
    ) -> types.ServerCapabilities:
        every = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
        return super().get_capabilities(every, *given, **named)


def build(era: str) -> _Server:
    """Build the server; `era` is the only one that it speaks, or `both`."""
    room = Everything()
    server = _Server(
        "everything",
        version="1.0.0",
        get_tool_input_schema=lambda name: offers.SCHEMA_OF.get(name),
        on_list_tools=room.list_tools,
        on_call_tool=room.call_tool,
        on_list_resources=room.list_resources,
        on_list_resource_templates=room.list_templates,
        on_read_resource=room.read,
        on_subscribe_resource=room.subscribe,
        on_unsubscribe_resource=room.unsubscribe,
        on_subscriptions_listen=ListenHandler(room.bus),
        on_list_prompts=room.list_prompts,
        on_get_prompt=room.get_prompt,
        on_completion=room.complete,
        on_set_logging_level=room.set_level,
    )

    async def only(ctx: Context, call_next: CallNext) -> HandlerResult:
        if (ctx.protocol_version == MODERN) != (era == "modern"):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method)
        return await call_next(ctx)

    server.extensions[EXTENSION] = {}
    server.middleware += [room.remember, Jobs().serve]
    if era != "both":
        server.middleware.append(only)
    return server


class _Endpoint:
    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)


def http_app(server: _Server) -> Starlette:
    """Serve Streamable HTTP under `/mcp`."""
    names = ["127.0.0.1:*", "localhost:*", "[::1]:*"]
    guard = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=names,
        allowed_origins=[f"http://{name}" for name in names],
    )
    manager = StreamableHTTPSessionManager(server, security_settings=guard)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> Any:
        async with manager.run():
            yield

    return Starlette(routes=[Route("/mcp", _Endpoint(manager))], lifespan=lifespan)


def sse_app(server: _Server) -> Starlette:
    """Serve the oldest transport under `/sse`."""
    transport = SseServerTransport("/messages/")

    async def stream(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
        return Response()

    return Starlette(routes=[Route("/sse", stream), Mount("/messages/", app=transport.handle_post_message)])


async def _serve_stdio(server: _Server, era: str) -> None:
    async with stdio_server() as (reader, writer):
        options = server.create_initialization_options()
        if era == "legacy":
            # Otherwise a pipe is of the modern era once a client has asked for that.
            await serve_loop(server, reader, writer, lifespan_state={}, init_options=options)
        else:
            await server.run(reader, writer, options)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=3001)
    parser.add_argument("--transport", choices=["http", "sse", "stdio"], default="http")
    parser.add_argument("--era", choices=["both", "legacy", "modern"], default="both")
    given = parser.parse_args()
    server = build(given.era)
    if given.transport == "stdio":
        asyncio.run(_serve_stdio(server, given.era))
        return
    app = http_app(server) if given.transport == "http" else sse_app(server)
    # httptools does not trim the blanks at the end of a header's value, as HTTP wants it.
    config = uvicorn.Config(app, http="h11", log_level="warning", timeout_graceful_shutdown=1)
    with socket.create_server(("127.0.0.1", given.port)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    main()
