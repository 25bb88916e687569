"""Where history is published. To add an exchange: a folder with a class that satisfies `Archive`, and its line here."""

from core.exchanges.binance.vision import DataVisionDownloader

EXCHANGES = {"binance": DataVisionDownloader}
