"""The server towards MCP clients: both eras of the protocol on one URL.

server    one HTTP request: which era it belongs to, and what it asks for
modern    2026-07-28: every request stands alone
legacy    2025-11-25 and older: sessions
sessions  what is kept of those, so that any process can serve them
answers   JSON, or a stream of events once something has to be said before the result
asks      questions of servers to clients that have a session
rounds    the same for modern clients, who are asked by an unfinished result
"""
