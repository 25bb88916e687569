"""Rows on this machine's disk: `StorageManager` turns verified archives into partitions and reads them back."""
