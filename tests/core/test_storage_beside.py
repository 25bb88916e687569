"""Days beside months and answers of the API beside both: which rows count, and that none is lost or given twice."""

import itertools
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from storage_world import CANDLES, FUNDING, SECONDS, TRADES, Archive, Vault, _rows_of, expected, lines

from core.datasets import DATASETS
from core.download.gaps import Known
from core.jobs.optimize import Optimizer, Outcome
from core.storage.beside import Comparison, Difference
from core.storage.digest import content_sha256
from core.storage.schema import schema_of
from core.types import Gap, GapStatus, Market, Period, Proof, Series, Source, Span, Stamp

JAN = Period.month(2024, 1)
HOURS = Series(Market.UM, "klines", "BTCUSDT", "1h")
AGGS = Series(Market.SPOT, "agg_trades", "BTCUSDT")
START_MS = 1_704_067_200_000
HOUR_MS = 3_600_000


def day(number: int, mark: int = 1) -> Archive:
    return Archive(Period.day(date(2024, 1, number)), mark)


def hours(which: Sequence[int], price: int = 1, first: int = 1) -> bytes:
    """Candles of these hours, counted from the beginning of a day of January."""
    opens = [START_MS + ((first - 1) * 24 + hour) * HOUR_MS for hour in which]
    return lines([f"{at},{price},{price},{price},{price},1,{at + HOUR_MS - 1},1,1,1,1,0" for at in opens])


def answer(vault: Vault, series: Series, text: bytes) -> pa.Table:
    """The rows of a CSV in the stored schema, by way of another data folder."""
    with Vault(vault.layout.root.with_name(f"answers-{vault.layout.root.name}")) as other:
        other.store(series, JAN, text)
        batches = list(other.storage.scan(series, Span(0, 2**60)))
        for part in other.storage.partitions(series):
            other.storage.remove(part)
    return pa.Table.from_batches(batches, schema_of(DATASETS[series.dataset], series.market))


def sources(vault: Vault, series: Series) -> list[Source]:
    return [source for part in vault.storage.partitions(series) for source in part.sources]


def opens(vault: Vault, series: Series) -> dict[datetime, float]:
    return vault.rows(series)


def test_an_answer_fills_what_the_day_lacks_and_says_so(tmp_path: Path) -> None:
    first = Period.day(date(2024, 1, 1))
    with Vault(tmp_path / "data") as vault:
        vault.store(HOURS, first, hours([*range(7), *range(9, 24)]))
        stored = vault.storage.store_answer(HOURS, first, answer(vault, HOURS, hours(range(24), price=9)))
        assert list(opens(vault, HOURS).values()) == [1.0] * 7 + [9.0] * 2 + [1.0] * 15  # the archive's own are right
        (archive, rest) = sources(vault, HOURS)
        assert (archive.proof, rest.proof, rest.key) == (
            Proof.SHA256_BY_ETAG,
            Proof.REST,
            "rest/um/klines/BTCUSDT/1h/2024-01-01",
        )
        assert (rest.rows, rest.added, rest.first_us) == (2, 2, (START_MS + 7 * HOUR_MS) * 1000)
        assert stored.sources[rest.key] == rest
        again = vault.storage.store_answer(HOURS, first, answer(vault, HOURS, hours(range(24), price=9)))
        assert again.sources == stored.sources
        assert sources(vault, HOURS) == [archive, rest]


def test_an_archive_that_comes_later_takes_the_place_of_the_answer(tmp_path: Path) -> None:
    first = Period.day(date(2024, 1, 1))
    with Vault(tmp_path / "data") as vault:
        vault.storage.store_answer(HOURS, first, answer(vault, HOURS, hours(range(24), price=9)))
        assert [source.added for source in sources(vault, HOURS)] == [24]
        vault.store(HOURS, first, hours(range(20)))
        assert [source.rows for source in sources(vault, HOURS)] == [20, 4]
        vault.store(HOURS, JAN, hours(range(22)))
        assert [(s.period.label, s.rows) for s in sources(vault, HOURS)] == [("2024-01", 22), ("2024-01-01", 2)]
        assert list(opens(vault, HOURS).values()) == [1.0] * 22 + [9.0] * 2
        vault.store(HOURS, JAN, hours(range(744)))
        assert [source.period for source in sources(vault, HOURS)] == [JAN]
        assert [path.rpartition("/")[-1] for path in vault.files] == ["BTCUSDT-1h-2024.parquet"]


def test_a_settlement_is_the_same_though_the_api_says_another_millisecond(tmp_path: Path) -> None:
    at = [START_MS + n * 8 * HOUR_MS for n in range(3)]
    with Vault(tmp_path / "data") as vault:
        said = answer(vault, FUNDING, lines([f"{ms + 7},8,0.0001" for ms in at]))
        vault.storage.store_answer(FUNDING, Period.day(date(2024, 1, 1)), said)
        assert len(vault.rows(FUNDING)) == 3
        vault.store(FUNDING, JAN, lines([f"{ms + 2},8,0.0001" for ms in at[:2]]))
        assert [source.rows for source in sources(vault, FUNDING)] == [2, 1]
        vault.store(FUNDING, JAN, lines([f"{ms + 2},8,0.0001" for ms in at]))
        assert [source.period for source in sources(vault, FUNDING)] == [JAN]
        assert [moment.microsecond for moment in vault.rows(FUNDING)] == [2000] * 3


def test_trades_of_an_answer_lie_in_the_file_of_their_day(tmp_path: Path) -> None:
    def aggs(ids: Sequence[int], price: int = 1) -> bytes:
        return lines([f"{n},{price},1,{n},{n},{START_MS + n},True,True" for n in ids])

    first = Period.day(date(2024, 1, 1))
    with Vault(tmp_path / "data") as vault:
        vault.store(AGGS, first, aggs([1, 2, 5, 6]))
        said = answer(vault, AGGS, aggs(range(1, 8), price=9))
        vault.storage.store_answer(AGGS, first, said)
        (path,) = vault.files
        assert path.endswith("BTCUSDT-aggTrades-2024-01-01.parquet")
        scanned = vault.storage.scan(AGGS, Span(0, 2**60), ["agg_trade_id", "price"])
        rows = [tuple(row.values()) for batch in scanned for row in batch.to_pylist()]
        assert rows == [(n, 1.0 if n in (1, 2, 5, 6) else 9.0) for n in range(1, 8)]
        vault.store(AGGS, JAN, aggs([1, 2, 3, 5, 6]))
        assert [(s.period.label, s.rows) for s in sources(vault, AGGS)] == [("2024-01", 5), ("2024-01-01", 2)]
        vault.store(AGGS, JAN, aggs(range(1, 8)))
        assert [s.period for s in sources(vault, AGGS)] == [JAN]


ANSWERS = st.builds(day, st.integers(1, 4), st.just(99)).map(lambda one: ("answer", one))
PUTS = st.one_of(
    st.builds(Archive, st.just(JAN), st.integers(1, 2), st.sets(st.integers(0, 4), min_size=1).map(tuple)),
    st.builds(day, st.integers(1, 4), st.integers(1, 2)),
).map(lambda one: ("archive", one))


@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES], ids=str)
@given(events=st.lists(PUTS | ANSWERS, min_size=1, max_size=10))
@hypothesis_settings(max_examples=25, deadline=None)
def test_no_row_is_lost_or_given_twice_whatever_comes_when(
    tmp_path_factory: pytest.TempPathFactory, series: Series, events: list[tuple[str, Archive]]
) -> None:
    archives: list[Archive] = []
    answered: dict[datetime, float] = {}
    with Vault(tmp_path_factory.mktemp("any") / "data") as vault:
        for kind, one in events:
            if kind == "archive":
                vault.put(series, [one])
                archives.append(one)
            else:
                said = answer(vault, series, lines(_rows_of(series, one.period.first, one.mark)))
                stored = vault.storage.store_answer(series, one.period, said)
                vault.tracker.enter(stored.partitions, stored.removed)
                answered |= expected(series, [one])
            known = expected(series, archives)
            answered = {moment: mark for moment, mark in answered.items() if moment not in known}
            assert vault.rows(series) == dict(sorted((known | answered).items()))
            assert vault.catalog(series) == vault.footers(series)
            assert vault.knows(series) == vault.reads(series)
        assert sum(s.added for s in sources(vault, series) if s.proof is Proof.REST) == len(answered)


def _table(rows: dict[int, int]) -> pa.Table:
    names = {"id": pa.int64(), "timestamp": pa.int64(), "price": pa.float64()}
    columns = [sorted(rows), sorted(rows), [float(rows[key]) for key in sorted(rows)]]
    return pa.table([pa.array(values, kind) for values, kind in zip(columns, names.values(), strict=True)], list(names))


def _cut(table: pa.Table, ends: Sequence[int]) -> list[pa.RecordBatch]:
    places = sorted({0, table.num_rows, *(end % (table.num_rows + 1) for end in ends)})
    parts = [table.slice(one, other - one) for one, other in itertools.pairwise(places)]
    return [batch for part in parts for batch in part.combine_chunks().to_batches()]


ROWS = st.dictionaries(st.integers(0, 30), st.integers(0, 2), max_size=25)


@given(ours=ROWS, others=ROWS, cuts=st.lists(st.integers(0, 40), max_size=6), more=st.lists(st.integers(0, 40)))
def test_a_comparison_counts_what_each_side_has(
    ours: dict[int, int], others: dict[int, int], cuts: list[int], more: list[int]
) -> None:
    comparison = Comparison(DATASETS["trades"], iter(_cut(_table(ours), cuts)), keeps=True)
    for batch in _cut(_table(others), more):
        comparison.add(batch)
    found = comparison.finish()
    lacking = sorted(ours.keys() - others.keys())
    both = ours.keys() & others.keys()
    changed = sum(ours[key] != others[key] for key in both)
    assert found == Difference(len(lacking), len(others.keys() - ours.keys()), changed, found.rows)
    assert [key for batch in found.rows for key in batch.column("id").to_pylist()] == lacking


def test_a_second_answer_about_a_day_is_added_to_the_first(tmp_path: Path) -> None:
    first = Period.day(date(2024, 1, 1))
    with Vault(tmp_path / "data") as vault:
        vault.store(HOURS, first, hours([0, 1, 4, 5]))
        for asked in ([2], [6, 7], [2, 3]):
            vault.storage.store_answer(HOURS, first, answer(vault, HOURS, hours(asked, price=9)))
        assert [source.rows for source in sources(vault, HOURS)] == [4, 4]
        assert list(opens(vault, HOURS).values()) == [1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 9.0, 9.0]
        nothing = schema_of(DATASETS[HOURS.dataset], HOURS.market).empty_table()
        vault.storage.store_answer(HOURS, first, nothing)
        assert [source.rows for source in sources(vault, HOURS)] == [4, 4]


@pytest.mark.parametrize("series", [CANDLES, TRADES], ids=str)
def test_what_counts_beside_a_month_survives_merging_and_splitting(tmp_path: Path, series: Series) -> None:
    """Merged into the file of a year and made again out of that: the same rows, and the same bytes."""
    with Vault(tmp_path / "data") as vault:
        for one in (day(1, 1), day(2, 2), Archive(JAN, 2, (1, 2, 3))):
            vault.put(series, [one])
        said = answer(vault, series, lines(_rows_of(series, date(2024, 1, 9), 99)))
        stored = vault.storage.store_answer(series, Period.day(date(2024, 1, 9)), said)
        vault.tracker.enter(stored.partitions, stored.removed)
        rows, before = vault.rows(series), vault.files
        outcome = Outcome()
        Optimizer(vault.storage, vault.layout, 131_072, 10**9, date(2026, 1, 1)).run(series, vault.tracker, outcome)
        assert outcome.failures == {}
        assert len(vault.files) == 1
        assert (vault.rows(series), vault.catalog(series)) == (rows, vault.footers(series))
        late = Archive(Period.day(date(2024, 2, 5)), 1)
        vault.put(series, [late])
        assert vault.rows(series) == rows | expected(series, [late])
        assert {name: content for name, content in vault.files.items() if name in before} == before


def test_what_is_known_of_gaps_is_kept_by_series(tmp_path: Path) -> None:
    def gap(start: int, end: int, status: GapStatus = GapStatus.OPEN) -> Gap:
        return Gap(HOURS, Span(start, end), end - start, status, "said", 5)

    looked_at = {JAN: Stamp(5, 7), Period.day(date(2024, 2, 1)): Stamp(6, 8)}
    with Vault(tmp_path) as vault:
        tracker = vault.tracker
        known = Known((gap(10, 20), gap(90, 110, GapStatus.CONFIRMED)), looked_at)
        tracker.record_gaps({HOURS: known, TRADES: Known()}, {})
        assert (tracker.gaps(HOURS), tracker.gaps(TRADES)) == (known.gaps, ())
        assert tracker.known_gaps([HOURS, TRADES]) == {HOURS: known}
        later = {
            HOURS: Known((gap(90, 110, GapStatus.FILLED),), {JAN: Stamp(6, 9)}),
            TRADES: Known((), looked_at),
        }
        tracker.record_gaps(later, {HOURS: known})
        assert tracker.known_gaps([TRADES, HOURS]) == later


MARKED = [
    (JAN, 2, (0, 1, 2, 7)),
    *((Period.day(date(2024, 1, number)), mark, None) for number, mark in ((1, 2), (2, 3))),
]
LATE = [(Period.day(date(2024, 1, number)), mark, None) for number, mark in ((4, 4), (5, 2), (8, 2))]


@pytest.mark.parametrize("series", [CANDLES, SECONDS, TRADES, FUNDING], ids=str)
@given(order=st.permutations(range(9)))
@hypothesis_settings(max_examples=8, deadline=None)
def test_the_same_archives_and_answers_give_the_same_bytes_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, series: Series, order: list[int]
) -> None:
    """A month that lacks days and has others otherwise, its days, and answers about days with and without archives."""
    archives = [Archive(*each) for each in (*MARKED, *LATE)]
    events = [*(("archive", one) for one in archives), *(("answer", day(number, 99)) for number in (3, 5, 6))]
    found = []
    for each in (range(9), order):
        with Vault(tmp_path_factory.mktemp("bytes") / "data") as vault:
            for kind, one in (events[number] for number in each):
                if kind == "archive":
                    vault.store_all([vault.archive(series, one)])
                else:
                    said = answer(vault, series, lines(_rows_of(series, one.period.first, one.mark)))
                    vault.storage.store_answer(series, one.period, said)
            found.append((vault.rows(series), vault.files))
    assert found[0] == found[1]


def test_what_is_said_of_an_answer_is_said_of_the_rows_that_are_kept(tmp_path: Path) -> None:
    """Times in microseconds as spot has them since 2025; the digest is that of the values, wherever they lie."""
    new_year_us = 1_735_689_600_000_000
    spot = Series(Market.SPOT, "klines", "BTCUSDT", "1h")

    def candles(which: Sequence[int]) -> bytes:
        opened = [new_year_us + hour * HOUR_MS * 1000 for hour in which]
        return lines([f"{at},1,1,1,1,1,{at + HOUR_MS * 1000 - 1},1,1,1,1,0" for at in opened])

    first = Period.day(date(2025, 1, 1))
    with Vault(tmp_path / "data") as vault, Vault(tmp_path / "other") as other:
        other.store(spot, first, candles(range(24)))
        said = pa.Table.from_batches(list(other.storage.scan(spot, Span(0, 2**60))))
        vault.storage.store_answer(spot, first, said)
        assert [(s.unit, s.sha256) for s in sources(vault, spot)] == [("us", content_sha256(said))]
        vault.store(spot, first, candles(range(20)))
        rest = sources(vault, spot)[-1]
        assert (rest.unit, rest.rows, rest.sha256) == ("us", 4, content_sha256(said.slice(20)))
    with Vault(tmp_path / "futures") as vault:
        vault.storage.store_answer(HOURS, day(1).period, answer(vault, HOURS, hours(range(24))))
        assert [source.unit for source in sources(vault, HOURS)] == ["ms"]


@given(
    rows=st.lists(
        st.tuples(st.booleans() | st.none(), st.integers(0, 9) | st.none(), st.sampled_from(["", "A", "é", None])),
        min_size=1,
        max_size=30,
    ),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    which=st.integers(0, 29),
)
def test_a_digest_of_content_is_of_values_alone(
    rows: list[tuple[bool | None, int | None, str | None]], cuts: list[int], which: int
) -> None:
    def table(some: Sequence[tuple[bool | None, int | None, str | None]]) -> pa.Table:
        yes, numbers, words = zip(*some, strict=True)
        times = pa.array(numbers, pa.timestamp("us", "UTC"))
        return pa.table({"yes": pa.array(yes, pa.bool_()), "time": times, "word": pa.array(words, pa.string())})

    whole = table(rows)
    cut = pa.Table.from_batches(_cut(pa.concat_tables([whole, whole]).slice(whole.num_rows), cuts), whole.schema)
    assert content_sha256(cut) == content_sha256(whole)
    at = which % len(rows)
    other = [*rows[:at], (not rows[at][0], *rows[at][1:]), *rows[at + 1 :]]
    assert content_sha256(table(other)) != content_sha256(whole)
    assert (content_sha256(whole.slice(1)) == content_sha256(whole)) is False
