"""Archives of one partition are stored together, as soon as the last of them has come or failed."""

from datetime import date
from pathlib import Path

from core.jobs.groups import Groups
from core.types import ArchiveFile, Download, FetchedFile, Market, Period, Proof, Series, State

CANDLES = Series(Market.UM, "klines", "BTCUSDT", "1h")
ETHER = Series(Market.UM, "klines", "ETHUSDT", "1h")
TRADES = Series(Market.UM, "trades", "BTCUSDT")
MONTHS = [Period.month(2024, number) for number in range(1, 5)]


def file(series: Series, period: Period) -> ArchiveFile:
    return ArchiveFile(series, period, f"data/{series}/{period.label}.zip", 1, "e", None, "")


def come(one: ArchiveFile) -> tuple[Download, FetchedFile]:
    return Download(1, one, State.FETCHED), FetchedFile(one, Path("x.zip"), 1, "5" * 64, Proof.UNVERIFIED)


def test_archives_of_one_partition_share_a_number() -> None:
    groups = Groups()
    files = [
        *(file(CANDLES, month) for month in MONTHS[:2]),  # both of the year
        file(CANDLES, Period.month(2023, 12)),  # of another year
        file(ETHER, MONTHS[0]),  # of another series
        *(file(CANDLES, Period.day(date(2024, 5, day))) for day in (1, 2)),  # both of a month
        *(file(TRADES, Period.day(date(2024, 5, day))) for day in (1, 2)),  # each its own
        file(TRADES, MONTHS[0]),  # is split into days
    ]
    assert groups.expect(files) == [0, 0, 1, 2, 3, 3, 4, 5, 6]


def test_a_group_is_complete_with_the_last_of_its_archives() -> None:
    groups = Groups()
    files = [file(CANDLES, month) for month in MONTHS[:3]]
    numbers = groups.expect(files)
    arrivals = [come(one) for one in files]
    for number, arrival in zip(numbers[:2], arrivals, strict=False):
        groups.arrive(number, *arrival)
        assert groups.settle(number) == []
    groups.arrive(numbers[2], *arrivals[2])
    assert groups.settle(numbers[2]) == arrivals


def test_archives_may_arrive_before_any_is_settled() -> None:
    groups = Groups()
    files = [file(CANDLES, month) for month in MONTHS[:2]]
    one, other = groups.expect(files)
    arrivals = [come(each) for each in files]
    groups.arrive(other, *arrivals[1])
    groups.arrive(one, *arrivals[0])
    assert groups.settle(one) == []
    assert groups.settle(other) == [arrivals[1], arrivals[0]]


def test_what_failed_is_not_waited_for_and_not_stored() -> None:
    groups = Groups()
    files = [file(CANDLES, month) for month in MONTHS[:3]]
    number, *_ = groups.expect(files)
    arrival = come(files[1])
    assert groups.settle(number) == []  # failed
    groups.arrive(number, *arrival)
    assert groups.settle(number) == []
    assert groups.settle(number) == [arrival]  # failed, and was the last


def test_of_a_group_that_failed_as_a_whole_nothing_is_stored() -> None:
    groups = Groups()
    (number,) = groups.expect([file(CANDLES, MONTHS[0])])
    assert groups.settle(number) == []


def test_archives_that_are_listed_later_join_a_group_that_still_waits() -> None:
    groups = Groups()
    first, second = (file(CANDLES, month) for month in MONTHS[:2])
    (number,) = groups.expect([first])
    assert groups.expect([second]) == [number]
    groups.arrive(number, *come(first))
    assert groups.settle(number) == []
    groups.arrive(number, *come(second))
    assert [fetched.file for _, fetched in groups.settle(number)] == [first, second]


def test_a_partition_that_was_stored_may_be_expected_once_more() -> None:
    groups = Groups()
    first, second = (file(CANDLES, month) for month in MONTHS[:2])
    (number,) = groups.expect([first])
    groups.arrive(number, *come(first))
    assert len(groups.settle(number)) == 1
    (again,) = groups.expect([second])
    assert again != number
    groups.arrive(again, *come(second))
    assert [fetched.file for _, fetched in groups.settle(again)] == [second]


def test_the_same_archive_may_be_expected_twice() -> None:
    groups = Groups()
    one = file(CANDLES, MONTHS[0])
    first, second = groups.expect([one, one])
    assert first == second
    groups.arrive(first, *come(one))
    assert groups.settle(first) == []
    assert len(groups.settle(first)) == 1  # another run had the second
