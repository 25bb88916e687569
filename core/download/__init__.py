"""Bytes and their status: `DownloadTracker` keeps the rows, `SmartDownloader` moves the bytes."""
