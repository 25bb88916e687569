"""The few functions that compose rooms."""
