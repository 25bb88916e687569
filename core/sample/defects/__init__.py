"""The defects of the exchange's archive, D1 to D40 as its reference numbers them, which the sample plants on request.

To plant: `core.sample.defects.planting`. A defect is a function that looks at a `Site`, changes it and says what it
did; some are so in the sample by themselves, and are only shown.
"""

from core.datasets import DATASETS
from core.sample.defects import content, form, kinds, missing, no_trade
from core.sample.defects.plan import FUTURES, Defect
from core.types import Cadence, Market

_DAY, _MONTH = (Cadence.DAILY,), (Cadence.MONTHLY,)
_ALL = tuple(DATASETS)
_PRICES = ("mark_price", "index_price", "premium_index")
_CANDLES = ("klines", *_PRICES)
_TAPE = ("trades", "agg_trades")
_KEPT_IN_ORDER = (*_CANDLES, *_TAPE, "book_ticker")
_ONCE = (*_KEPT_IN_ORDER, "funding_rate", "book_depth")
_SPOT, _UM, _CM = (Market.SPOT,), (Market.UM,), (Market.CM,)
_DAYS_KNOWN = (*_CANDLES, *_TAPE, "book_depth")

# fmt: off
DEFECTS: dict[str, Defect] = {
    "D1": Defect("D1", "a day's file is absent", _DAYS_KNOWN, missing.absent_day, cadences=_DAY),
    "D2": Defect("D2", "a feed is frozen", _ALL, missing.frozen_feed, cadences=_DAY, needs_clock=True, is_wide=True),
    "D3": Defect("D3", "a day is truncated", _DAYS_KNOWN, missing.truncated_day, cadences=_DAY),
    "D4": Defect("D4", "a month lacks days", (*_CANDLES, *_TAPE), missing.short_month, cadences=_MONTH),
    "D5": Defect("D5", "first and last day are partial", _CANDLES, missing.partial_edge, is_shown=True),
    "D6": Defect("D6", "trades are lost", _TAPE, missing.lost_trades),
    "D7": Defect("D7", "prices are missing everywhere", _PRICES, missing.hole_everywhere),
    "D8": Defect("D8", "metrics are missing", ("metrics",), missing.absent_metrics, cadences=_DAY),
    "D9": Defect("D9", "a type has ended", ("book_ticker", "liquidation_snapshot"), missing.ended_type, is_wide=True),
    "D10": Defect("D10", "a halt: time jumps, ids run on", _TAPE, no_trade.halted_trades, is_shown=True),
    "D11": Defect("D11", "candles of a halt", ("klines",), no_trade.halted_candles, is_shown=True),
    "D12": Defect("D12", "flat candles that are wrong", ("klines",), no_trade.false_flat_rows),
    "D13": Defect("D13", "flat candles after delisting", ("klines",), no_trade.flat_after_delisting),
    "D14": Defect("D14", "single ids are absent", _TAPE, no_trade.lone_ids_absent, FUTURES),
    "D15": Defect("D15", "spot candles off the grid", ("klines",), no_trade.off_the_grid, _SPOT),
    "D16": Defect("D16", "header or none", _ALL, form.other_header, FUTURES),
    "D17": Defect("D17", "milliseconds or microseconds", ("klines", *_TAPE), form.other_unit, _SPOT),
    "D18": Defect("D18", "header words of cm", ("klines",), form.honest_header, _CM),
    "D19": Defect("D19", "count of prices is a placeholder", _PRICES, form.samples_as_count, is_shown=True),
    "D20": Defect("D20", "case of booleans, zeros at the end", (*_KEPT_IN_ORDER, "book_depth"), form.other_spelling),
    "D21": Defect("D21", "no checksum, odd name", _ALL, form.no_sidecar),
    "D22": Defect("D22", "a broken zip, its checksum agrees", _ALL, form.broken_zip),
    "D23": Defect("D23", "a wrong checksum", _ALL, form.wrong_checksum),
    "D24": Defect("D24", "a symbol that is not ASCII", _ALL, form.foreign_letters, is_shown=True),
    "D25": Defect("D25", "exact duplicate rows", _ONCE, content.doubled_rows),
    "D26": Defect("D26", "untidy metrics", ("metrics",), content.untidy_metrics, cadences=_DAY),
    "D27": Defect("D27", "one id, two rows at a day border", ("agg_trades",), content.one_id_two_rows, cadences=_DAY),
    "D28": Defect("D28", "rows out of order", _KEPT_IN_ORDER, content.disordered_rows),
    "D29": Defect("D29", "time goes back while ids rise", _TAPE, content.time_goes_back),
    "D30": Defect("D30", "month and days disagree", _CANDLES, content.month_against_days, cadences=_MONTH),
    "D31": Defect("D31", "intervals disagree", _CANDLES, content.intervals_disagree),
    "D32": Defect("D32", "archive and API disagree", ("klines", "agg_trades"), content.rest_disagrees, needs_rest=True),
    "D33": Defect("D33", "aggregates of quantity 0", ("agg_trades",), content.no_quantity, _UM),
    "D34": Defect("D34", "a file is silently replaced", _ONCE, content.silent_replacement, needs_clock=True),
    "D35": Defect("D35", "aggregates cannot rebuild candles", ("agg_trades",), no_trade.trades_left_out, FUTURES),
    "D36": Defect("D36", "the label of metrics moved", ("metrics",), kinds.moved_labels, _UM, _DAY, is_shown=True),
    "D37": Defect("D37", "the book is wrong", ("book_depth",), kinds.wrong_book, cadences=_DAY),
    "D38": Defect("D38", "the funding interval changes", ("funding_rate",), kinds.faster_funding),
    "D39": Defect("D39", "prices older than the market", ("mark_price", "index_price"), kinds.older_than_the_market),
    "D40": Defect("D40", "one name, two lives", ("klines", "trades", "funding_rate"), missing.two_lives, is_wide=True),
}
# fmt: on
