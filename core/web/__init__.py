"""The status page: a read-only view of a data folder, served on this machine only."""
