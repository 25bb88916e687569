"""Where history is published. To add an exchange: a folder with classes that satisfy `Archive` and `Api`, and its lines
here and in `apis`."""

from core.exchanges.binance.vision import DataVisionDownloader

EXCHANGES = {"binance": DataVisionDownloader}
