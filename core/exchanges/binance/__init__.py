"""Binance's public archive and API."""
