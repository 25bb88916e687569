"""A folder with pictures and tables of what is stored of one symbol: see docs/eda-report.md.

report/
  index.html          the page; it asks nobody for anything, and opens from disk
  page.css page.js plotly.min.js
  report.json         what was asked for, every table to the last digit, and which files are the report's
  data/candles.parquet ...   the rows that the pictures are made of

`made.make` composes it of sections, each a module that asks the loader and answers with pictures, tables and rows
(`parts`); `html` renders them, `folder` puts them in place.
"""
