"""The checker against the planted archive: 200 defects over seeds, all found, and nothing else; on clean data nothing.

Archives are laid out, planted, served over loopback, downloaded and stored as by a user, months and days alike, and all
series are checked with everything that is compared. What was said while storing counts: a user reads it too.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from found_world import CM, HALT, MARKET, SHELVES, SPOT, UM, Lake, Seen, linked

from core.datasets import DATASETS
from core.dates import DAY_US
from core.integrity.archives import DAY_GIVEN, REPAIRED
from core.integrity.causes import HALTED
from core.integrity.feed import EVERY
from core.sample.archive import Shelf, write_archive
from core.sample.defects.plan import Plan, Planted, Verdict
from core.sample.defects.planting import default_kinds, plant, random_plans
from core.types import Finding, Period, Series

SEEDS = (1, 2, 3, 4)
EACH = 50
LOST = frozenset({"gap", "trades-lost", "feed-lacks"})
COMPARED = frozenset({"candle-differs", "interval-differs", "aggregate-differs", "premium-differs"})
NAMED: dict[str, frozenset[str]] = {
    "D1": LOST,
    "D3": LOST,
    "D4": frozenset({"month-differs"}),
    "D6": frozenset({"trades-lost"}),
    "D7": LOST,
    "D8": LOST,
    "D12": frozenset({"candle-differs", "flat-run", "interval-differs"}),
    "D13": frozenset({"flat-tail"}),
    "D21": frozenset({"no-checksum", "odd-key"}),
    "D22": frozenset({"corrupt-upstream"}),
    "D23": frozenset({"mismatch-upstream"}),
    "D25": frozenset({"duplicate-rows"}),
    "D27": frozenset({"id-twice"}),
    "D28": frozenset({"unsorted-rows"}),
    "D30": frozenset({"month-differs"}),
    "D31": frozenset({"interval-differs", "candle-differs"}),
    "D33": frozenset({"zero-quantity"}),
    "D37": frozenset({"frozen-band", "depth-off-mark"}),
    "D40": LOST | {"relisting"},
}
"""By the number of a fault, the kinds of finding of which one has to name it."""
FOLLOWS: dict[str, frozenset[str]] = {
    "D3": COMPARED,
    "D6": COMPARED,
    "D7": COMPARED,
    "D12": COMPARED,
    "D21": LOST,
    "D22": LOST | {"archive-corrupt-upstream"},
    "D23": LOST | {"archive-mismatch-upstream"},
    "D25": frozenset({"unsorted-rows"}),
    "D27": frozenset({"aggregate-ids"}),
    "D30": COMPARED,
    "D31": COMPARED | {"value-range"},
    "D33": COMPARED,
    "D37": frozenset({"band-prices"}),
    "D40": COMPARED,
}
"""What else may be said of it without a cause, of its series or of one that is compared with it."""
REPAIRED_FAULTS = frozenset({"D4", "D25", "D28", "D30"})
"""Those that storing puts right: they may be named with the cause that says so."""
COUNTED = {"D4", "D7", "D8", "D12", "D13", "D14", "D25", "D28", "D29", "D30", "D33", "D35"}
"""Of which the findings that name them count exactly the planted rows."""
EXPLAINED: dict[str, frozenset[str]] = {
    "D14": frozenset({"lone-ids"}),
    "D15": frozenset({"close-time", "off-grid"}),
    "D26": frozenset({"unsorted-rows"}),
    "D29": frozenset({"time-back"}),
    "D35": frozenset({"lone-ids"}),
}
"""What is no fault and is named all the same, with its cause."""
UNSEEN = frozenset({"D9"})
"""Explained, and nothing to say: behind its last row nothing is expected of a series, so an end is no gap."""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "archive"
    write_archive(MARKET, folder, SHELVES)
    return folder


def looked_at(folder: Path, served: Path) -> Seen:
    lake = Lake(folder / "data", MARKET, SHELVES)
    lake.download(served)
    return lake.seen()


def concerns(finding: Finding, planted: Planted, echoes: bool = True) -> bool:
    """Whether a finding is of the planted span of its series, of its feed, or of one that tells the same story."""
    own = planted.series
    feed = Series(own.market, own.dataset, EVERY, own.interval)
    series = (own, feed, *planted.echoes) if echoes else (own, feed)
    return finding.series in series and finding.span.overlaps(planted.span)


def is_named(planted: Planted, found: Iterable[Finding]) -> bool:
    """Whether a fault is named without an excuse but that it was put right."""
    causes = {None, REPAIRED, DAY_GIVEN} if planted.defect in REPAIRED_FAULTS else {None}
    kinds = NAMED[planted.defect]
    return any(f.kind in kinds and f.cause in causes and concerns(f, planted) for f in found)


def counts(planted: Planted, seen: Seen, kinds: frozenset[str]) -> set[int]:
    """How many rows are concerned, by the checker and by what was raised while storing; each kind by itself."""
    told = []
    for part in (seen.raised, [f for each in seen.examined for f in each.findings]):
        mine = [f for f in part if concerns(f, planted, echoes=False)]
        told += [sum(f.count for f in mine if f.kind == kind) for kind in kinds]
    return set(told)


def is_due_to(finding: Finding, planted: Planted) -> bool:
    if planted.verdict is not Verdict.FAULT:
        return False
    kinds = NAMED[planted.defect] | FOLLOWS.get(planted.defect, frozenset())
    return finding.kind in kinds and concerns(finding, planted)


@pytest.fixture(scope="module")
def clean(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The market without defects."""
    return looked_at(tmp_path_factory.mktemp("clean"), pristine)


@cache
def plans_of(pristine: Path, seed: int) -> tuple[Plan, ...]:
    return random_plans(MARKET, pristine, seed, EACH)


def test_on_clean_data_nothing_is_found_without_a_cause(clean: Seen) -> None:
    assert [finding for finding in clean.findings if finding.cause is None] == []
    assert sum(each.rows for each in clean.examined) > 100_000
    assert {(each.series.market, each.series.dataset) for each in clean.examined if each.rows} >= {
        (market, name)
        for market in (UM, CM)
        for name in ("klines", "mark_price", "premium_index", "trades", "agg_trades", "metrics", "book_depth")
    }


def test_what_the_sample_is_by_itself_is_no_fault(pristine: Path, clean: Seen, tmp_path: Path) -> None:
    """D5, D10, D11, D19, D24: listings at noon, a halt, placeholders, other letters."""
    halted = Period.parse("2025-01-05")
    noon, gone = Period.parse("2024-12-18"), Period.parse("2025-01-09")
    candles, other = Series(SPOT, "klines", "ETHUSDT", "1h"), Series(UM, "klines", "币安人生USDT", "1h")
    plans = [
        Plan("D5", Series(SPOT, "klines", "ETHUSDT", "1h"), noon),
        Plan("D5", other, gone),
        Plan("D10", Series(SPOT, "trades", "ETHUSDT"), halted),
        Plan("D11", candles, halted),
        Plan("D11", Series(UM, "klines", "BTCUSDT", "1h"), halted),
        Plan("D19", Series(UM, "mark_price", "BTCUSDT", "1h"), halted),
        Plan("D24", other, halted),
    ]
    shown = plant(MARKET, linked(pristine, tmp_path / "archive"), plans)
    assert not any(each.files for each in shown)  # so the clean archive is theirs
    assert not any(concerns(f, each) for f in clean.findings for each in shown if f.cause is None)
    (halt,) = [f for f in clean.findings if f.series.dataset == "trades" and f.kind == "halt"]
    assert halt.series == Series(SPOT, "trades", "ETHUSDT")
    assert halt.span.contains(HALT)
    (gap,) = [f for f in clean.findings if f.series == candles and f.kind == "gap"]
    assert (gap.span, gap.count) == (shown[3].span, shown[3].rows)
    assert gap.cause == HALTED


@pytest.mark.parametrize("seed", SEEDS)
def test_every_planted_defect_is_found_and_nothing_else(pristine: Path, tmp_path: Path, seed: int) -> None:
    plans = plans_of(pristine, seed)
    planted = plant(MARKET, linked(pristine, tmp_path / "archive"), plans)
    seen = looked_at(tmp_path, tmp_path / "archive")
    faults = [each for each in planted if each.verdict is Verdict.FAULT]
    assert len(planted) == EACH
    assert len(faults) > EACH // 2
    assert [str(each) for each in faults if not is_named(each, seen.findings)] == []
    unexplained = [finding for finding in seen.findings if finding.cause is None]
    assert [finding for finding in unexplained if not any(is_due_to(finding, each) for each in planted)] == []
    assert [str(each) for each in planted if each.defect in COUNTED and not is_counted(each, seen)] == []
    assert [str(each) for each in planted if each.verdict is Verdict.EXPLAINED and not is_explained(each, seen)] == []


def is_counted(planted: Planted, seen: Seen) -> bool:
    kinds = NAMED.get(planted.defect) or EXPLAINED[planted.defect]
    return planted.rows in counts(planted, seen, kinds)


def is_explained(planted: Planted, seen: Seen) -> bool:
    if planted.defect in UNSEEN:
        return True
    found = [f for f in seen.findings if concerns(f, planted, echoes=False)]
    return {f.kind for f in found if f.cause is not None} >= EXPLAINED[planted.defect]


def test_two_hundred_defects_of_all_kinds_are_planted(pristine: Path) -> None:
    """Every kind that is planted into files and has a place here is among them."""
    plans = [plan for seed in SEEDS for plan in plans_of(pristine, seed)]
    assert len(plans) == 200
    planted = Counter(plan.defect for plan in plans)
    assert set(planted) == set(default_kinds())


def test_with_a_clock_late_days_and_replaced_archives_are_found_and_put_right(tmp_path: Path) -> None:
    """D2: a frozen feed is old, and whole when it has thawed. D34: what an archive lacks is missing until the whole one
    comes, and then that is said. D32 is seen only by whoever asks the API: what is stored is the archive's."""
    few = ("um/BTCUSDT", "um/币安人生USDT")
    names = ("klines", "mark_price", "metrics", "funding_rate")
    days = (MARKET.first, MARKET.last)
    shelves = tuple(
        Shelf(name, "1h" if DATASETS[name].has_interval else None, days=days, symbols=few) for name in names
    )
    served = tmp_path / "archive"
    write_archive(MARKET, served, shelves)
    planted = plant(MARKET, served, random_plans(MARKET, served, 1, 8, ("D2", "D34")))
    lake = Lake(tmp_path / "data", MARKET, shelves)
    (frozen,) = [each for each in planted if each.defect == "D2"]
    replaced = [each for each in planted if each.defect == "D34"]
    assert len(replaced) == 7

    during = frozen.changes_us[0] - 1
    lake.download(served, during)
    told = lake.seen(now_us=during)
    unexplained = [f for f in told.findings if f.cause is None]
    assert [f for f in unexplained if not any(is_replaced(f, each) for each in replaced)] == []
    (old,) = [f for f in told.findings if f.kind == "old" and f.series == frozen.series]
    assert old.cause is not None
    assert old.span.start_us <= frozen.span.start_us  # metrics are labelled by the end of their window

    after = MARKET.span.end_us + 2 * DAY_US
    lake.download(served, after)
    seen = lake.seen()
    waiting = [each for each in replaced if each.changes_us[0] > after]
    assert len(waiting) > 1
    assert [str(each) for each in waiting if not any(is_replaced(f, each) for f in seen.findings)] == []
    unexplained = [f for f in seen.findings if f.cause is None and f.kind != "republished"]
    assert [f for f in unexplained if not any(is_replaced(f, each) for each in replaced)] == []

    lake.events.clear()
    lake.download(served, max(us for each in replaced for us in each.changes_us) + 1)
    seen = lake.seen()
    assert {f.kind for f in seen.findings if f.cause is None} == {"republished"}
    for each in waiting:
        (said,) = [f for f in seen.findings if f.kind == "revised" and f.series == each.series and concerns(f, each)]
        assert said.cause == "the rows stored are those of the new archive"


def is_replaced(finding: Finding, planted: Planted) -> bool:
    return finding.kind in LOST | COMPARED | {"month-differs"} and concerns(finding, planted)
