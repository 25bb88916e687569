"""Who is asked for rows that an archive lacks. Apart from `EXCHANGES`: this needs Arrow, and a download does not."""

from core.exchanges.binance.rest import RestApi

APIS = {"binance": RestApi}
