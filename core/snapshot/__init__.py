"""Snapshots: what a study used, so that somebody else can load the same frames, bit for bit; see docs/snapshots.md."""
