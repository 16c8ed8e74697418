"""Bulk prediction: files, tables and archives into a file of predictions; resumable."""
