"""What a partition's footer says: which series and period it is, and for each source where its rows came from."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from core import VERSION
from core.datasets import SCHEMA_VERSION
from core.errors import StorageError, storage_error
from core.types import Partition, Period, Proof, Series, Source

_PREFIX: Final = "tapevault."
WRITER: Final = f"tapevault {VERSION}, pyarrow {pa.__version__}"


def facts_of(series: Series, period: Period, sources: Sequence[Source]) -> dict[str, str]:
    """The footer's entries."""
    facts = {
        **_identity(series, period),
        "writer": WRITER,
        "rows": sum(source.rows for source in sources),
        "first_us": min(source.first_us for source in sources),
        "last_us": max(source.last_us for source in sources),
        "sources": json.dumps([_entry(source) for source in sources]),
    }
    return {f"{_PREFIX}{name}": str(value) for name, value in facts.items()}


def partition_at(path: Path, series: Series, period: Period) -> Partition | None:
    """A partition from its footer; None if it has gone meanwhile. Raises StorageError if it is not one of ours."""
    try:
        metadata = pq.read_metadata(path)
        facts = {k.decode(): v.decode() for k, v in (metadata.metadata or {}).items()}
        return _partition(path, series, period, facts, metadata.num_rows)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> StorageError:
    """What a file that cannot be read as a partition means: the disk refuses, or it is none of ours."""
    if isinstance(error, OSError) and error.errno and not path.is_dir():
        return storage_error(error, path)
    return StorageError(f"{path} is no partition of ours ({error}); delete it and run the download again")


def _partition(path: Path, series: Series, period: Period, facts: dict[str, str], rows: int) -> Partition:
    for name, wanted in _identity(series, period).items():
        if facts[f"{_PREFIX}{name}"] != str(wanted):
            raise ValueError(f"its {name} is {facts[f'{_PREFIX}{name}']}, not {wanted}")
    sources = tuple(_source(entry) for entry in json.loads(facts[f"{_PREFIX}sources"]))
    partition = Partition(series, period, path, sources, facts[f"{_PREFIX}writer"])
    said = int(facts[f"{_PREFIX}rows"])
    if not (rows == said == partition.rows and sources):
        raise ValueError(f"{rows} rows, but its footer says {said}, and {partition.rows} by source")
    return partition


def _identity(series: Series, period: Period) -> dict[str, object]:
    """What may not contradict the path that a file is found at."""
    return {"schema_version": SCHEMA_VERSION, "series": series, "period": period.label}


def _entry(source: Source) -> dict[str, Any]:
    return {**asdict(source), "period": source.period.label}


def _source(entry: dict[str, Any]) -> Source:
    return Source(**{**entry, "period": Period.parse(entry["period"]), "proof": Proof(entry["proof"])})
