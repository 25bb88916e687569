"""What a partition's Parquet footer says: where its rows came from, and what storing them found."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.datasets import SCHEMA_VERSION
from core.errors import StorageError, storage_error
from core.types import FetchedFile, Partition, Period, Series

_PREFIX = "tapevault."


def facts_of(partition: Partition, fetched: FetchedFile) -> dict[str, str]:
    """The footer's entries."""
    facts = {
        **_identity(partition.series, partition.period),
        "rows": partition.rows,
        "first_us": partition.first_us,
        "last_us": partition.last_us,
        "source_key": fetched.file.key,
        "source_sha256": fetched.sha256,
        "source_proof": fetched.proof,
        "source_unit": partition.source_unit,
        "duplicates": partition.duplicates,
        "reordered": partition.reordered,
        "outside_period": partition.outside,
    }
    return {f"{_PREFIX}{name}": "" if value is None else str(value) for name, value in facts.items()}


def partition_at(path: Path, series: Series, period: Period) -> Partition | None:
    """A partition from its footer; None if it has gone meanwhile. Raises StorageError if it is not one of ours."""
    try:
        metadata = pq.read_metadata(path)
        facts = {k.decode(): v.decode() for k, v in (metadata.metadata or {}).items()}
        partition = _partition(path, series, period, facts)
        if partition.rows != metadata.num_rows:
            raise ValueError(f"{metadata.num_rows} rows instead of {partition.rows}")
        return partition
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise unusable(path, error) from error


def unusable(path: Path, error: Exception) -> StorageError:
    """What a file that cannot be read as a partition means: the disk refuses, or it is none of ours."""
    if isinstance(error, OSError) and error.errno and not path.is_dir():
        return storage_error(error, path)
    return StorageError(f"{path} is no partition of ours ({error}); delete it and run the download again")


def _partition(path: Path, series: Series, period: Period, facts: dict[str, str]) -> Partition:
    for name, wanted in _identity(series, period).items():
        said = facts.get(f"{_PREFIX}{name}", str(wanted))
        if said != str(wanted):
            raise ValueError(f"its {name} is {said}, not {wanted}")
    return Partition(
        series,
        period,
        path,
        int(facts["tapevault.rows"]),
        int(facts["tapevault.first_us"]) if facts["tapevault.first_us"] else None,
        int(facts["tapevault.last_us"]) if facts["tapevault.last_us"] else None,
        facts["tapevault.source_sha256"],
        facts["tapevault.source_unit"],
        int(facts["tapevault.duplicates"]),
        int(facts["tapevault.reordered"]),
        int(facts.get("tapevault.outside_period", "0")),
    )


def _identity(series: Series, period: Period) -> dict[str, object]:
    """What may not contradict the path that a file is found at."""
    return {"schema_version": SCHEMA_VERSION, "series": series, "period": period.label}
