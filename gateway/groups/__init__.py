"""Groups as MCP endpoints.

names     under which names what several servers offer is shown
table     the groups, kept fresh
merging   the lists of all members as one
endpoint  the answers to a client's requests
"""
