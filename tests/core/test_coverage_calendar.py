"""Calendars of series against a plain account of each day."""

from calendar import monthrange
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert

from core.dates import DAY_US
from core.download.coverage import coverage
from core.download.tables import FILES, GAPS, METADATA
from core.types import GapStatus, Market, Period, Series, State

ONE = Series(Market.UM, "klines", "BTCUSDT", "1h")
FIRST = date(2023, 12, 1)
LAST = date(2024, 4, 30)
MONTHS = [Period.month(2023, 12), *(Period.month(2024, number) for number in range(1, 5))]
DAYS = [Period.day(FIRST + timedelta(days=number)) for number in range((LAST - FIRST).days + 1)]
LACKING = {State.FAILED, State.MISSING, State.UNVERIFIED, State.CORRUPT, State.MISMATCH}

Archives = dict[Period, State]
Gaps = list[tuple[int, int, GapStatus]]


@contextmanager
def database(archives: Archives, gaps: Gaps) -> Iterator[Connection]:
    names = {"market": "um", "dataset": "klines", "symbol": "BTCUSDT", "interval": "1h"}
    plain = {"size": 1, "etag": "", "modified": "", "changed_us": 0}
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        METADATA.create_all(connection)
        if archives:
            rows = [{"key": p.label, "period": p.label, "state": s.value} | names | plain for p, s in archives.items()]
            connection.execute(insert(FILES), rows)
        if gaps:
            ends = [{"start_us": start, "end_us": end, "status": status.value} for start, end, status in gaps]
            connection.execute(insert(GAPS), [each | names | {"rows": 1, "detail": ""} for each in ends])
        yield connection
    engine.dispose()


def plainly(archives: Archives, gaps: Gaps) -> dict[date, str]:
    """What each day is, day by day."""
    states: dict[date, set[str]] = {}
    for period, state in archives.items():
        word = "s" if state is State.STORED else "m" if state in LACKING else "w"
        day = period.first
        while day <= period.last:
            states.setdefault(day, set()).add(word)
            day += timedelta(days=1)
    for start, end, status in gaps:
        if status in (GapStatus.OPEN, GapStatus.LATE, GapStatus.CONFIRMED):
            for number in range(start // DAY_US, (end - 1) // DAY_US + 1):
                day = date(1970, 1, 1) + timedelta(days=number)
                states.setdefault(day, set()).update("hw" if status is GapStatus.LATE else "h")
    if not states:
        return {}
    found = {}
    day = min(states)
    while day <= max(states):
        known = states.get(day, set())
        if "s" in known:
            found[day] = "g" if "h" in known else "s"
        else:
            found[day] = "w" if "w" in known else "m" if known else "-"
        day += timedelta(days=1)
    return found


def of_month(letters: str) -> str:
    """What a month is by its days."""
    days = letters.replace(" ", "")
    if "g" in days:
        return "g"
    if "s" in days:
        return "p" if set(days) != {"s"} else "s"
    return "m" if "m" in days else "w" if "w" in days else "-"


def at(day: int, hour: int) -> int:
    return Period.day(FIRST).span.start_us + day * DAY_US + hour * DAY_US // 24


spans = st.tuples(st.integers(0, 150), st.integers(0, 23), st.integers(1, 100)).map(
    lambda it: (at(it[0], it[1]), at(it[0], it[1] + it[2]))
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(MONTHS + DAYS), st.sampled_from(State), max_size=40),
    st.lists(st.tuples(spans, st.sampled_from(GapStatus)).map(lambda it: (*it[0], it[1])), max_size=4, unique=True),
)
def test_every_day_is_what_its_archives_and_gaps_say(archives: Archives, gaps: Gaps) -> None:
    unique = list({(start, end): (start, end, status) for start, end, status in gaps}.values())
    with database(archives, unique) as connection:
        found = coverage(connection)
    wanted = plainly(archives, unique)
    if not wanted:
        assert all(cover.extent is None and cover.months() == (0, "") for cover in found.values())
        return
    first, months = found[ONE].days()
    given_days = {
        date((first + place) // 12, (first + place) % 12 + 1, number): letter
        for place, letters in enumerate(months)
        for number, letter in enumerate(letters, start=1)
    }
    assert {day: letter for day, letter in given_days.items() if letter != " "} == wanted
    assert found[ONE].extent == (min(wanted), max(wanted))
    start, letters = found[ONE].months()
    assert (start, len(letters)) == (first, len(months))
    for place, days in enumerate(months):
        assert len(days) == monthrange((first + place) // 12, (first + place) % 12 + 1)[1]
        assert letters[place] == of_month(days)


def test_other_series_have_calendars_of_their_own() -> None:
    with database({MONTHS[0]: State.STORED}, []) as connection:
        names = {"market": "spot", "dataset": "trades", "symbol": "ETHUSDT", "interval": None}
        row = {"key": "x", "period": "2024-02-29", "state": "missing", "size": 1, "etag": "", "modified": ""}
        connection.execute(insert(FILES).values(row | names | {"changed_us": 0}))
        found = coverage(connection)
        trades = Series(Market.SPOT, "trades", "ETHUSDT")
        assert list(found) == [trades, ONE]
        assert found[trades].days() == (2024 * 12 + 1, [" " * 28 + "m"])
        assert found[ONE].months() == (2023 * 12 + 11, "s")
        assert list(coverage(connection, trades)) == [trades]
        assert coverage(connection, Series(Market.CM, "trades", "ETHUSDT")) == {}
