"""Many predictions: folders, tables and archives through a service, into a file; can be continued."""
