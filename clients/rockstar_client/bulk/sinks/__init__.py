"""Where outcomes go: tables of CSV, JSON lines and Parquet, that a cut off run can continue."""
