"""The instrument of a symbol in a NautilusTrader catalog, as far as archives of prices know it.

data/currency_pair/BTCUSDT.BINANCE/1970-01-01T00-00-00-000000000Z_1970-01-01T00-00-00-000000000Z.parquet
data/crypto_perpetual/BTCUSDT-PERP.BINANCE/...   BTCUSD-PERP.BINANCE of cm is inverse, its multiplier a contract's USD

Price and size step by one of the last decimal that occurs, fees and margins are 0, limits absent: set what matters to a
backtest. A dated future (BTCUSDT_240329.BINANCE) has no file: nobody told us when it began to trade.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core.datasets.contracts import contract_usd
from core.errors import ConfigError, ContentError, StorageError
from core.export.draft import draft
from core.export.format import Options, Written
from core.export.nautilus_catalog import OURS, file_name, is_ours
from core.export.pair import Pair, pair_of
from core.types import Market, Series

_TEXT: Final = pa.string()
_WORD: Final = pa.dictionary(pa.int16(), pa.string())
_WORDS: Final = (
    *("base_currency", "quote_currency", "settlement_currency", "price_increment", "size_increment", "multiplier"),
    *("lot_size", "max_quantity", "min_quantity", "max_notional", "min_notional", "max_price", "min_price"),
)
_OTHERS: Final[dict[str, pa.DataType]] = {
    "id": pa.dictionary(pa.int64(), pa.string()),
    "is_inverse": pa.bool_(),
    "price_precision": pa.uint8(),
    "size_precision": pa.uint8(),
    "info": pa.binary(),
    "ts_event": pa.uint64(),
    "ts_init": pa.uint64(),
}


@dataclass(frozen=True, slots=True)
class Precision:
    """Decimals of an instrument's prices and sizes."""

    price: int
    size: int


def instrument_id(one: Series) -> str:
    """As NautilusTrader's own Binance adapter names it: BTCUSDT.BINANCE, BTCUSDT-PERP.BINANCE, BTCUSD-PERP.BINANCE."""
    name, _, suffix = one.symbol.partition("_")
    if one.market is Market.SPOT or suffix.isdigit():
        return f"{one.symbol}.BINANCE"
    return f"{name}-PERP.BINANCE"


def settled(folder: Path, one: Series, derived: Precision, options: Options) -> Precision:
    """The precision to write with: that of the options, else of the instrument that is there, else the derived one.

    Raises ConfigError if the options say less than is needed, StorageError if the instrument does.
    """
    there = _precision_there(folder, one)
    chosen = Precision(
        _chosen(one, "price", derived.price, options.price_precision, there.price if there else 0),
        _chosen(one, "size", derived.size, options.size_precision, there.size if there else 0),
    )
    if there is not None and chosen != there:
        raise StorageError(
            f"{folder} holds {instrument_id(one)} with {there.price} decimals of price and {there.size} of size, and "
            f"{chosen.price} and {chosen.size} are needed; export all of it again, to another --out"
        )
    return chosen


def _chosen(one: Series, what: str, derived: int, option: int | None, there: int) -> int:
    if option is not None and option < derived:
        raise ConfigError(f"--{what}-precision {option}: {one.symbol} has values of {derived} decimals")
    return option if option is not None else max(derived, there)


def why_none(folder: Path, one: Series) -> str | None:
    """Why no instrument is written for a symbol; None if one is."""
    if any(not is_ours(path) for path in _files(folder, one)):
        return f"the instrument {instrument_id(one)} that is there is not of an export; it is left as it is"
    try:
        pair = pair_of(one.market, one.symbol)
    except ContentError:
        return f"no instrument for {instrument_id(one)}: its quote currency is not known here; add your own"
    dated = f"no instrument for {instrument_id(one)}: a dated future, whose start of trade is not known; add your own"
    return dated if pair.delivery else None


def write_instrument(folder: Path, one: Series, precision: Precision) -> Written:
    """The instrument's file, for a symbol of which `why_none` says nothing."""
    facts = _facts(one, pair_of(one.market, one.symbol), precision)
    fields = [pa.field(name, _OTHERS.get(name, _WORD if name in _WORDS else _TEXT)) for name in facts]
    kind = "CurrencyPair" if one.market is Market.SPOT else "CryptoPerpetual"
    schema = pa.schema(fields, metadata={"class": kind, **OURS})
    arrays = [pa.array([value], field.type) for field, value in zip(fields, facts.values(), strict=True)]
    path = _path(folder, one)
    with draft(path.parent, path.name) as made:
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), made.temporary)
        made.publish(path)
    return Written(path, 1, ())


def _facts(one: Series, pair: Pair, precision: Precision) -> dict[str, Any]:
    """Every column, in the order in which NautilusTrader writes them."""
    is_spot, is_inverse = one.market is Market.SPOT, one.market is Market.CM
    contract = {"settlement_currency": pair.settle, "is_inverse": is_inverse}
    limits = ("max_quantity", "min_quantity", "max_notional", "min_notional", "max_price", "min_price")
    return {
        "id": instrument_id(one),
        "raw_symbol": one.symbol,
        "base_currency": pair.base,
        "quote_currency": pair.quote,
        **({} if is_spot else contract),
        "price_precision": precision.price,
        "size_precision": precision.size,
        "price_increment": _step(precision.price),
        "size_increment": _step(precision.size),
        "multiplier": str(contract_usd(one.market, one.symbol) or 1),
        **({"lot_size": None} if is_spot else {}),
        **dict.fromkeys(limits),
        **dict.fromkeys(("margin_init", "margin_maint", "maker_fee", "taker_fee"), "0"),
        "info": b"null",
        "ts_event": 0,
        "ts_init": 0,
    }


def _step(decimals: int) -> str:
    """One unit of the last decimal, written out: `0.001`."""
    return f"{Decimal(1).scaleb(-decimals):f}"


def _precision_there(folder: Path, one: Series) -> Precision | None:
    """That of the newest instrument in the catalog."""
    for path in reversed(_files(folder, one)):
        try:
            row = pq.read_table(path, columns=["price_precision", "size_precision"]).to_pylist()[-1]
        except (OSError, pa.ArrowException, IndexError) as error:
            raise StorageError(f"{path} cannot be read ({error}); remove it, or choose another --out") from error
        return Precision(row["price_precision"], row["size_precision"])
    return None


def _files(folder: Path, one: Series) -> list[Path]:
    return sorted(_path(folder, one).parent.glob("*.parquet"))


def _path(folder: Path, one: Series) -> Path:
    kind = "currency_pair" if one.market is Market.SPOT else "crypto_perpetual"
    return folder / "data" / kind / instrument_id(one) / file_name(0, 0)
