"""Searching the knowledge base: texts into passages and words, and an index of them in memory."""
