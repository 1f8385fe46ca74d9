"""The cache: hints between processes and stamps that may be lost. Nothing in it is the only copy.

One Redis, or, without an address, one inside the process that speaks through the same client.
"""

from storage.cache.connection import open_cache, ping
from storage.cache.definitions import Definitions
from storage.cache.drivers import DriverStates
from storage.cache.loads import Loads
from storage.cache.messages import Message, listen, publish
from storage.cache.parts import PartStates
from storage.cache.questions import Questions
from storage.cache.reads import Kind, ReadCache
from storage.cache.stamps import HealthStamps
from storage.cache.trials import RunningTrials
from storage.cache.usage import LatestUsages

__all__ = [
    "Definitions",
    "DriverStates",
    "HealthStamps",
    "Kind",
    "LatestUsages",
    "Loads",
    "Message",
    "PartStates",
    "Questions",
    "ReadCache",
    "RunningTrials",
    "listen",
    "open_cache",
    "ping",
    "publish",
]
