"""Many predictions: files, tables and archives through a service into a file; can be continued."""
