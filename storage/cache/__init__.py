"""The cache: hints between processes and stamps that may be lost. Nothing in it is the only copy.

One Redis, or, without an address, one inside the process that speaks through the same client.
"""

from storage.cache.connection import open_cache, ping
from storage.cache.messages import Message, listen, publish
from storage.cache.reads import Kind, ReadCache
from storage.cache.stamps import HealthStamps

__all__ = ["HealthStamps", "Kind", "Message", "ReadCache", "listen", "open_cache", "ping", "publish"]
