"""Fixtures for tests of several folders."""

from demo_world import homes

__all__ = ["homes"]
