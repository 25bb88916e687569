"""Formats that rows are written in. To add one: a module here with a `Writer` and `read`, and its line below."""

from core.storage.formats import csv, parquet

FORMATS = {"parquet": parquet, "csv": csv}
