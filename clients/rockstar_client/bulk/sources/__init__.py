"""Where items come from: folders, files, tables, archives; each is read as a stream."""

from rockstar_client.bulk.sources.paths import Paths

__all__ = ["Paths"]
