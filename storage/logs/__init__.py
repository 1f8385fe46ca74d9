"""What replicas write, as files in a folder that workers and APIs share."""

from storage.logs.book import LogBook
from storage.logs.reader import LogReader

__all__ = ["LogBook", "LogReader"]
