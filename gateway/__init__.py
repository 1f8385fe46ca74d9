"""The data plane: takes calls by MCP and by plain REST to the servers that can answer them.

    app        the gateway whole: in the API's process, or served by itself
    entry      who may come in, and where each path leads
    ├─ front   MCP clients of both eras, their sessions and streams
    ├─ rest    POST /mcp/{slug}/v1/tools/{tool}
    └─ bridge  the Bridge API
         │
    core       what all doors lead to
    ├─ several groups, the smart endpoint, discovery: more than one server
    ├─ calls   policy → capacity → relay → what is counted; the one way to a server
    ├─ relay   route → replica, deadline, retries
    ├─ routes  which replicas serve a slug; kept fresh by pub/sub
    └─ upstreams  one connection object for each replica or remote server

Nothing here reads a database while a call waits.
"""
