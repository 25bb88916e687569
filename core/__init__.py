"""Tapevault's rooms: list, plan, fetch, verify and store the exchange's history. See docs/architecture.md."""

VERSION = "0.1.0"
