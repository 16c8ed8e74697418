"""Where items come from: folders, files, tables, archives; each is read as a stream."""

from clients.bulk.sources.paths import Paths

__all__ = ["Paths"]
