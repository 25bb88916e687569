"""What lies in the data folder is of an earlier version, or was changed by hand: a run puts it right."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
from script_world import assert_catalog_is_the_footers, assert_loads_the_truth, command, zip_hits

from core.layout import Layout, home_of
from core.sample.market import SampleMarket
from core.sample.server import running_server
from core.types import Market, Period, Series

V2 = """
DROP TABLE catalog_sources;
DROP TABLE catalog_partitions;
DELETE FROM schema_steps WHERE step > 2;
CREATE TABLE partitions (file_id INTEGER PRIMARY KEY REFERENCES files (id), rows BIGINT NOT NULL, first_us BIGINT,
    last_us BIGINT, source_unit VARCHAR NOT NULL, duplicates BIGINT NOT NULL, reordered BIGINT NOT NULL);
INSERT INTO partitions SELECT id, 1, 1, 1, 'ms', 0, 0 FROM files WHERE state = 'stored';
"""


def to_version_1(data: Path) -> list[Path]:
    """A partition for each archive, of its period, as it was before; returns those that have another name today."""
    layout = Layout(data)
    made = []
    tables = {path: pq.ParquetFile(path).read() for path in (data / "processed").rglob("*.parquet")}
    shutil.rmtree(data / "processed")
    for series, period in layout.archives():
        table = next(table for path, table in tables.items() if path.parent == layout.processed_folder(series))
        target = layout.processed(series, period)
        target.parent.mkdir(parents=True, exist_ok=True)
        facts = {"schema_version": "1", "series": str(series), "period": period.label, "source_unit": "ms"}
        pq.write_table(
            table.slice(0, 5).replace_schema_metadata({f"tapevault.{name}": text for name, text in facts.items()}),
            target,
        )
        if home_of(series, period) != period:
            made.append(target)
    with closing(sqlite3.connect(layout.database)) as connection:
        connection.executescript(V2)
    return made


def test_a_data_folder_of_the_first_layout_is_made_again_without_a_download(
    market: SampleMarket, archive: Path, data: Path
) -> None:
    with running_server(archive) as server:
        first = command(server, data).run().json
        old = to_version_1(data)
        before = zip_hits(server)
        again = command(server, data).run()
        assert again.code == 0, again.err
        assert zip_hits(server) == before
        assert (again.json["stored"], again.json["bytes_downloaded"]) == (first["stored"], 0)
    assert_loads_the_truth(data, market)
    assert_catalog_is_the_footers(data)
    assert len(old) > 50
    assert not any(path.exists() for path in old)


def test_a_data_folder_that_was_copied_has_its_catalog_brought_up_to_date(archive: Path, data: Path) -> None:
    with running_server(archive) as server:
        command(server, data).run()
        copy = data.with_name("copy")
        shutil.copytree(data, copy, copy_function=shutil.copyfile)  # with times of their own
        for number, path in enumerate((copy / "processed").rglob("*.parquet")):
            os.utime(path, (1_700_000_000 + number,) * 2)
        done = command(server, copy).run()
    assert (done.code, done.json["stored"], done.json["downloaded"]) == (0, 0, 0)
    assert_catalog_is_the_footers(copy)


def test_partitions_that_were_removed_or_put_back_by_hand(market: SampleMarket, archive: Path, data: Path) -> None:
    layout = Layout(data)
    one = Series(Market.UM, "klines", "BTCUSDT", "1h")
    with running_server(archive) as server:
        command(server, data).run()
        year, month = (layout.processed(one, Period.parse(label)) for label in ("2024", "2025-01"))
        year.unlink()
        stranger = month.with_name("BTCUSDT-1h-2019.parquet")
        stranger.write_bytes(b"no partition")
        done = command(server, data).run()
        assert (done.code, done.json["stored"], done.json["downloaded"]) == (0, 1, 0)
        stranger.unlink()
        assert command(server, data).run().json["stored"] == 0
    assert year.exists()
    assert_loads_the_truth(data, market)
    assert_catalog_is_the_footers(data)
