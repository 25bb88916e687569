"""Formats that rows are written in. To add one: a module here with a `Writer` and `read`, and its line below."""

from core.storage.formats import arrow, csv, csv_gz, parquet

FORMATS = {"parquet": parquet, "csv": csv, "csv.gz": csv_gz, "arrow": arrow}
