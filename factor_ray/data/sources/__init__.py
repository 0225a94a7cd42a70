"""Readers of the field's files as downloaded, one file a format: a path in, pandas frames by month out."""
