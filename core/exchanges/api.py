"""What every exchange's public API can do for us: rows that its archive lacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from core.types import Market, Series, Span


@dataclass(frozen=True, slots=True)
class ApiRows:
    """Rows as an API had them at one moment.

    `table`: the dataset's stored schema, in the order of its key, rows whose time lies in the span that was asked for.
    `requests` were sent for them, retries included. `server_us`: a time of the server, asked before the rows were:
    candles that had not ended by then, and other rows from then on, are left out. `sha256` (lower-case hex) is of all
    rows of the answer (`core.storage.digest.content_sha256`): however they were paged, the same rows have the same one.
    What is stored of them carries that of the rows that are kept.
    """

    table: pa.Table
    requests: int
    server_us: int
    sha256: str


class Api(Protocol):
    """Answers for rows that no archive has, or not yet."""

    def reason_against(self, series: Series, span: Span, now_us: int) -> str | None:
        """Why these rows cannot be asked for at all, whatever was traded; None: they can. No request is made."""
        ...

    async def rows(self, series: Series, span: Span) -> ApiRows:
        """The rows of a span; an empty table is an answer: nothing there. Raises NotPublished for a symbol that the API
        does not know, RemoteError where there is a reason against it or an answer is no use, Throttled, ConnectionLost
        and SourceDown in the end."""
        ...

    async def funding_of_all(self, market: Market, span: Span) -> Mapping[str, ApiRows] | None:
        """The settlements of a span of every symbol that has some, by symbol: one question instead of one for each, as
        calls for funding are scarce. None: the market has no such question. `requests` is that of the whole question
        in each. Raises what `rows` does."""
        ...

    async def server_time_us(self, market: Market) -> int:
        """The server's time, asked now."""
        ...
