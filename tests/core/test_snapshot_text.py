"""The lock as a file: the same text for the same rows, and one clear error for whatever is wrong with it."""

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from snapshot_world import FUNDING, KLINES, TRADES, Folder, day, days

from core.errors import ConfigError, StorageError
from core.snapshot.lock import Content, Lock, LockedPartition, LockedSeries, Origin
from core.snapshot.text import _checksum, from_text, load, save, to_text
from core.types import Market, Period, Proof, Series, Span

PATH = Path("study.lock")


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    folder = Folder(tmp_path_factory.mktemp("lock") / "data")
    folder.put(KLINES, ["2024-12", *days(1, 2)])
    folder.put(TRADES, [day(25)])
    folder.put(FUNDING, ["2024-12"])
    return folder.lock([KLINES, TRADES, FUNDING])


def test_a_lock_is_read_as_it_was_written(lock: Lock, tmp_path: Path) -> None:
    path = tmp_path / "data.lock"
    save(lock, path)
    assert load(path) == lock
    assert (load(path).created, load(path).tool) == (lock.created, "tapevault 0.1.0")
    assert to_text(load(path)) == path.read_text() == to_text(lock)
    assert [one.name for one in tmp_path.iterdir()] == ["data.lock"]


def test_the_text_can_be_compared_line_by_line(lock: Lock, tmp_path: Path) -> None:
    text = to_text(lock)
    document = json.loads(text)
    assert list(document) == sorted(document)
    assert list(document["series"]) == ["um/funding_rate/BTCUSDT", "um/klines/BTCUSDT/1h", "um/trades/BTCUSDT"]
    assert (document["start"], document["end"]) == ("2024-12-01T00:00:00Z", "2025-02-01T00:00:00Z")
    december = document["series"]["um/klines/BTCUSDT/1h"]["content"]["2024-12"]
    assert (december["first"], december["last"], december["rows"]) == (
        "2024-12-10T00:00:00Z",
        "2024-12-31T23:00:00Z",
        528,
    )
    assert sum('"2024-12": {"digest"' in line for line in text.splitlines()) == 2
    assert max(map(len, text.splitlines())) < 400
    assert str(tmp_path.parent) not in text
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["created"])


def test_only_the_time_differs_between_two_locks_of_the_same(lock: Lock) -> None:
    later = Lock(lock.market, lock.span, lock.series, "2031-01-01T00:00:00Z", lock.tool)
    one, two = to_text(lock).splitlines(), to_text(later).splitlines()
    assert [a for a, b in zip(one, two, strict=True) if a != b] == [f' "created": "{lock.created}",']


names = st.text("ABC_19", min_size=1, max_size=8)
moments = st.integers(0, 7_258_118_400_000_000)
origins = st.builds(
    Origin,
    st.text(max_size=20),
    st.text("0123456789abcdef", max_size=64),
    st.sampled_from(Proof),
    st.integers(0),
    moments,
    moments,
)
periods = st.dates(min_value=date(1970, 1, 1)).filter(lambda d: d.year < 9999).map(Period.day)


@st.composite
def locks(draw: st.DrawFn) -> Lock:
    series = draw(
        st.lists(st.builds(Series, st.just(Market.CM), st.sampled_from(["trades", "metrics"]), names), unique=True)
    )
    found = []
    for one in sorted(series, key=str):
        days_ = sorted(draw(st.sets(periods, max_size=3)))
        contents = tuple(Content(p, draw(st.integers(1)), draw(moments), draw(moments), draw(names)) for p in days_)
        parts = tuple(
            LockedPartition(p, draw(names), draw(st.integers(0)), tuple(draw(st.lists(origins, max_size=2))))
            for p in days_
        )
        found.append(LockedSeries(one, contents, parts))
    start = draw(moments)
    return Lock(Market.CM, Span(start, start + draw(moments)), tuple(found), "2025-01-01T00:00:00Z", "tapevault 9")


@hypothesis_settings(max_examples=60, deadline=None)
@given(made=locks())
def test_any_lock_survives_its_text(made: Lock) -> None:
    assert from_text(to_text(made), PATH) == made


@hypothesis_settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_single_changed_value_goes_unnoticed(lock: Lock, data: st.DataObject) -> None:
    document = json.loads(to_text(lock))
    holder, key = data.draw(st.sampled_from(list(_leaves(document))))
    if holder is document and key == "created":
        return
    old = holder[key]
    holder[key] = old + 1 if isinstance(old, int) else f"{old}0"
    with pytest.raises(ConfigError, match=r"^study\.lock"):
        from_text(json.dumps(document), PATH)


def _leaves(value: Any) -> Any:
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(each, dict | list):
            yield from _leaves(each)
        else:
            yield value, key


def resigned(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    """The text changed by somebody who also puts the checksum right."""

    def made(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document | {"checksum": _checksum(document)})

    return made


def _forget(document: dict[str, Any]) -> None:
    del document["series"]["um/trades/BTCUSDT"]["content"]


def _rename(document: dict[str, Any]) -> None:
    document["series"]["cm/trades/BTCUSDT"] = document["series"].pop("um/trades/BTCUSDT")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"rows": 528', '"rows": 529', 1), "its checksum is not that of its content"),
        (lambda text: text[: len(text) // 2], "is damaged: line"),
        (lambda text: "", "is damaged: line 1"),
        (lambda text: "[]", "is damaged: it names no version"),
        (lambda text: '{"version": true}', "is damaged: it names no version"),
        (lambda text: "[" * 100_000, "is damaged: "),
        (
            lambda text: text.replace('"version": 1', '"version": 2').replace("tapevault 0.1.0", "tapevault 7.0"),
            r"was made by a newer version \(tapevault 7.0, form 2; this is form 1\): update Tapevault",
        ),
        (resigned(lambda d: d.update(schema=1)), r"locks rows with other columns \(schema 1; this version stores 2\)"),
        (resigned(lambda d: d.update(start="yesterday")), "is damaged: ValueError"),
        (resigned(lambda d: d.update(start="2025-01-01T00:00:00")), "is damaged: TypeError"),
        (resigned(lambda d: d.update(series=[])), "is damaged: AttributeError"),
        (resigned(lambda d: d.update(content="0")), "is damaged: ValueError: its digest of all rows is another one"),
        (resigned(_forget), "is damaged: KeyError"),
        (resigned(_rename), "is damaged: ValueError: cm/trades/BTCUSDT is no series of um"),
    ],
)
def test_a_lock_that_is_not_as_it_was_made_is_refused(
    lock: Lock, tmp_path: Path, change: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "data.lock"
    path.write_text(change(to_text(lock)))
    with pytest.raises(ConfigError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_no_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no lock .*data\.lock; scripts/snapshot.py create makes one"):
        load(tmp_path / "data.lock")
    with pytest.raises(ConfigError, match="cannot read the lock"):
        load(tmp_path)
    (tmp_path / "data.lock").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is no text"):
        load(tmp_path / "data.lock")


def test_other_spaces_and_line_ends_are_the_same_lock(lock: Lock) -> None:
    text = to_text(lock)
    assert from_text(text.replace("\n", "\r\n"), PATH) == from_text(json.dumps(json.loads(text)), PATH) == lock


def test_a_lock_that_is_there_is_replaced_only_by_force(lock: Lock, tmp_path: Path) -> None:
    path = tmp_path / "data.lock"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"data\.lock is there already; --force replaces it"):
        save(lock, path)
    assert path.read_text() == "mine"
    save(lock, path, force=True)
    assert load(path) == lock
    with pytest.raises(ConfigError, match="is a folder"):
        save(lock, tmp_path, force=True)
    with pytest.raises(StorageError, match="cannot use"):
        save(lock, tmp_path / "no" / "folder.lock")
    assert [one.name for one in tmp_path.iterdir()] == ["data.lock"]
