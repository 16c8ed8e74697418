"""What a file is, by its name."""

from rockstar_contract.csv_rows import CSV_ENDINGS

TABLES = CSV_ENDINGS
ZIPS = (".zip",)
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Of one item; what a gateway takes at most unless it is told otherwise.
MAX_ITEM_BYTES = 24 * 2**20
