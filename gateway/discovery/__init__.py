"""Finding tools by what they are for, among those that a caller may call.

texts      what of a tool's definition is searched
glossary   words for one thing, in English and Chinese
index      the search itself
discovery  the index of all servers' tools, kept in step with them
"""
