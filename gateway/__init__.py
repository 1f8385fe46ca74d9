"""The data plane: takes calls by MCP and by plain REST to the replicas that can answer them.

    app.Gateway ── endpoint (MCP clients, both eras, by the SDK's server)
                └─ rest     (POST /mcp/{slug}/v1/tools/{tool})
                     │ relay: route → upstream, deadline, one retry where nothing was sent
                     ├─ routes     which replicas serve a slug; kept fresh by pub/sub
                     ├─ upstreams  one connection object for each replica or remote server
                     └─ metering   what was counted, written in batches

Nothing here reads a database while a call waits.
"""
