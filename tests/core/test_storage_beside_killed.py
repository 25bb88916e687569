"""Killed while an archive takes the place of rows of the exchange's API: nothing is lost or given twice."""

import shutil
import signal
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest
from storage_world import FUNDING, Vault, run_child
from test_storage_beside import AGGS, HOUR_MS, HOURS, JAN, START_MS, answer, hours, lines, sources

from core.datasets import DATASETS
from core.jobs.optimize import Optimizer, Outcome
from core.jobs.stock import put_right
from core.types import Period, Proof, Series, Span
from loader import BacktestDataLoader

pytestmark = pytest.mark.filterwarnings("ignore::loader.missing.MissingDataWarning")  # more is asked for than there is

ALWAYS: Final = Span(0, 2**60)
EIGHT_MS: Final = 8 * HOUR_MS
MINUTE_US: Final = 60_000_000
BODY: Final = """
import test_storage_beside_killed as test
left = [int(sys.argv[2])]
def before(call):
    def called(*arguments, **options):
        if str(arguments[-1]).endswith(".parquet"):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return called
os.replace, os.unlink = before(os.replace), before(os.unlink)
test.{what}(world, test.{series})
"""


def settlements(which: Sequence[int], late_ms: int, rate: int = 1) -> bytes:
    """Settlements of an interval of 8 hours, counted from the beginning of January."""
    return lines([f"{START_MS + n * EIGHT_MS + late_ms},8,{rate}" for n in which])


def aggs(which: Sequence[int], late_us: int = 0, price: int = 1) -> bytes:
    return lines([f"{n},{price},1,{n},{n},{START_MS + n * 1_800_000},True,True" for n in which])


def january(series: Series) -> bytes:
    """The month: it lacks the last of what was answered, and of candles it has the 4th otherwise than the day."""
    if series == FUNDING:
        return settlements(range(8), 2)
    return hours(range(70)) + hours(range(24), price=3, first=4)


def prepare(vault: Vault, series: Series) -> None:
    """Days 1, 2 (without its last hours) and 4; answers about 2 and 3. Of funding there are no days, but answers."""
    if series == FUNDING:
        for number, late_ms in ((1, 7), (2, -3), (3, 7)):
            which = range((number - 1) * 3, number * 3)
            said = answer(vault, series, settlements(which, late_ms, rate=9))
            vault.storage.store_answer(series, Period.day(date(2024, 1, number)), said)
        return
    for number, which in ((1, range(24)), (2, range(20)), (4, range(24))):
        vault.store(series, Period.day(date(2024, 1, number)), hours(which, first=number))
    for number in (2, 3):
        said = answer(vault, series, hours(range(24), price=9, first=number))
        vault.storage.store_answer(series, Period.day(date(2024, 1, number)), said)


def take(world: Vault, series: Series) -> None:
    """The month comes."""
    stored = world.storage.store([world.fetched(series, JAN, january(series))])
    assert stored.refused == {}


def times(vault: Vault, series: Series) -> list[int]:
    """To the minute, for a settlement is the same whoever stamped it."""
    batches = list(vault.storage.scan(series, ALWAYS, ["timestamp"]))
    found = pa.Table.from_batches(batches).column("timestamp").cast(pa.int64()).to_pylist()
    assert found == sorted(found)
    return [round(each / MINUTE_US) for each in found]


def loaded(folder: Path, series: Series) -> list[int]:
    with BacktestDataLoader(data_dir=folder) as loader:
        frame = loader.load_data("BTCUSDT", "2024-01-01", "2024-01-31", series.dataset)[series.dataset]
    return [round(each.timestamp() / 60) for each in frame["timestamp"]]


def optimize(vault: Vault, series: Series) -> None:
    outcome = Outcome()
    Optimizer(vault.storage, vault.layout, 131_072, 10**9, date(2026, 1, 1)).run(series, vault.tracker, outcome)
    assert outcome.failures == {}


@pytest.mark.parametrize("name", ["HOURS", "FUNDING"])
def test_killed_while_an_archive_takes_the_place_of_answers(tmp_path: Path, name: str) -> None:
    series = {"HOURS": HOURS, "FUNDING": FUNDING}[name]
    with Vault(tmp_path / "before") as vault:
        prepare(vault, series)
        every = times(vault, series)
    assert len(every) == (9 if series == FUNDING else 96)
    with Vault(shutil.copytree(tmp_path / "before", tmp_path / "whole")) as vault:
        take(vault, series)
        assert times(vault, series) == every
        rows, wanted = vault.rows(series), vault.files
        rest = [(source.period.label, source.rows) for source in sources(vault, series) if source.is_rest]
        assert rest == [("2024-01-03", 1 if series == FUNDING else 2)]
        optimize(vault, series)
        merged = vault.files
    point = 0
    while True:
        folder = shutil.copytree(tmp_path / "before", tmp_path / str(point))
        done = run_child(folder, BODY.format(what="take", series=name), str(point))
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        shutil.copytree(folder, tmp_path / f"{point}-merged")
        with Vault(folder) as vault:
            assert times(vault, series) == loaded(folder, series) == every, point
            take(vault, series)
            assert vault.rows(series) == rows, point
            assert vault.files == wanted, point
        with Vault(tmp_path / f"{point}-merged") as vault:
            optimize(vault, series)
            assert times(vault, series) == every, point
            take(vault, series)
            optimize(vault, series)
            assert (vault.rows(series), vault.files) == (rows, merged), point
            assert vault.catalog(series) == vault.footers(series)
        if done.returncode == 0:
            break
        point += 1
    assert point == (2 if series == FUNDING else 3)  # candles: the 4th is marked before the month is there


@pytest.fixture(name="left")
def _left(tmp_path: Path) -> Vault:
    """Answers as they were before their month came, beside it: as after a kill between the two."""
    vault = Vault(tmp_path / "data")
    prepare(vault, FUNDING)
    (part,) = vault.storage.partitions(FUNDING)
    shutil.copy2(part.path, tmp_path / "answers")
    vault.store(FUNDING, JAN, settlements(range(9), 2))
    shutil.copy2(tmp_path / "answers", part.path)
    assert [one.period.label for one in vault.storage.partitions(FUNDING)] == ["2024", "2024-01"]
    return vault


@pytest.mark.parametrize("late_ms", [-5, 0, 3, 5, 60_001])
def test_a_settlement_is_given_once_wherever_a_scan_begins_and_ends(left: Vault, late_ms: int) -> None:
    def stamps(span: Span) -> list[int]:
        batches = list(left.storage.scan(FUNDING, span, ["timestamp", "funding_rate"]))
        assert {rate for batch in batches for rate in batch.column("funding_rate").to_pylist()} <= {1.0}
        return [each for batch in batches for each in batch.column("timestamp").cast(pa.int64()).to_pylist()]

    whole = stamps(ALWAYS)
    assert whole == [(START_MS + n * EIGHT_MS + 2) * 1000 for n in range(9)]
    border = (START_MS + 4 * EIGHT_MS + late_ms) * 1000
    assert stamps(Span(0, border)) + stamps(Span(border, 2**60)) == whole
    with BacktestDataLoader(data_dir=left.layout.root) as loader:
        frame = loader.load_data("BTCUSDT", "2024-01-02T08:00:00.004", "2024-01-31", "funding_rate")["funding_rate"]
    assert [each.value // 1000 for each in frame["timestamp"]] == whole[5:]
    left.tracker.close()


@pytest.mark.parametrize("is_new", [False, True])
def test_whoever_stores_anything_takes_away_what_archives_have(left: Vault, is_new: bool) -> None:
    february = lines([f"{START_MS + 31 * 3 * EIGHT_MS + 2},8,1"])
    period, text = (Period.month(2024, 2), february) if is_new else (JAN, settlements(range(9), 2))
    stored = left.storage.store([left.fetched(FUNDING, period, text)])
    assert stored.removed == ((FUNDING, JAN),)
    assert {source.proof for source in sources(left, FUNDING)} == {Proof.SHA256_BY_ETAG}
    assert [path.rpartition("/")[-1] for path in left.files] == ["BTCUSDT-fundingRate-2024.parquet"]
    left.tracker.close()


def test_tidying_takes_away_what_archives_have_and_the_catalog_follows(left: Vault) -> None:
    left.tracker.enter(left.storage.readable(FUNDING, left.storage.stamps(FUNDING)))
    gone = next(one for one in left.storage.partitions(FUNDING) if one.period == JAN)
    with left.storage.turn(FUNDING):
        found = put_right(left.storage, left.tracker, left.layout, FUNDING)
    assert ([one.period.label for one in found.partitions], found.dropped) == (["2024"], {JAN})
    assert left.catalog(FUNDING) == left.footers(FUNDING)
    with left.storage.turn(FUNDING):
        again = left.storage.tidied(FUNDING)
    assert (again.dropped, again.moved([gone])) == (frozenset(), [gone])  # killed before the catalog was told
    left.tracker.close()


def test_only_where_the_time_alone_is_the_key_is_there_a_grain() -> None:
    """Readers tell rows of the API from an archive's by their times then."""
    assert {each.key for each in DATASETS.values() if each.grain_us > 1} == {("timestamp",)}


def test_a_day_of_trades_that_has_other_rows_keeps_them_when_all_is_tidied(tmp_path: Path) -> None:
    """The month's rows lie in the files of other days: they say nothing of a day that it lacks."""
    with Vault(tmp_path / "data") as vault:
        for number in (1, 2):
            first = (number - 1) * 48 + 1
            vault.store(AGGS, Period.day(date(2024, 1, number)), aggs(range(first, first + 47)))
        vault.store(AGGS, JAN, aggs(range(1, 48)))
        before = vault.files
        with vault.storage.turn(AGGS):
            found = vault.storage.tidied(AGGS)
        assert [one.period.label for one in found.partitions] == ["2024-01-01", "2024-01-02"]
        assert vault.files == before
