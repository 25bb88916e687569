"""Binance's public archive."""
