"""`DataVisionDownloader`: what Binance publishes at data.binance.vision, by its key grammar and its listing."""

import asyncio
import functools
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from core.datasets import DATASETS, Dataset
from core.dates import day_of
from core.download.smart import Digests, Expected, Fetched, SmartDownloader
from core.errors import ChecksumMismatch, NotPublished
from core.events import Emit, FindingRaised
from core.exchanges.binance.listing import PAGE_BYTES, ListedObject, ListingPage, listing_url, parse_page, walk
from core.exchanges.binance.selection import choose, uncovered, whole_months
from core.exchanges.binance.urls import folder_of, key_of, parse_key, prefix_of, url_of
from core.layout import SYMBOL, Layout
from core.settings import DownloadSettings
from core.types import ArchiveFile, Cadence, Download, FetchedFile, Finding, Market, Period, Proof, Series, Span, State

CHECKSUM: Final = ".CHECKSUM"
CHECKSUM_BYTES: Final = 4096
FIRST_KEYS: Final = 4
"""Names of odd shape may come before the first archive."""
EVER: Final = Span.of_days(date(1970, 1, 1), date(9000, 1, 1))
_CHECKSUM_LINE: Final = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S+)\s*")


class DataVisionDownloader:
    """Satisfies `core.exchanges.archive.Archive` for Binance."""

    def __init__(
        self, settings: DownloadSettings, layout: Layout, smart: SmartDownloader, emit: Emit = lambda _: None
    ) -> None:
        self._settings = settings
        self._layout = layout
        self._smart = smart
        self._emit = emit
        self._series = asyncio.Semaphore(settings.listing_workers)

    async def list_symbols(self, market: Market, dataset: Dataset, interval: str | None) -> tuple[str, ...]:
        """Every symbol that has a folder for this data, by months or by days; `interval` is not looked at."""
        found = await asyncio.gather(
            *(self._folders(prefix_of(market, dataset, cadence)) for cadence in dataset.cadences)
        )
        return tuple(sorted({name for names in found for name in names if SYMBOL.fullmatch(name)}))

    async def list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
        """Whole months of the span by the monthly archive, the rest by days; what is not published is left out.

        Days are listed only where no month covers them, so a long history costs few pages. Keys of odd shape are
        reported as findings and otherwise ignored.
        """
        async with self._series:  # and not for each page: work can begin when the first series is known to its end
            return await self._list_files(series, span)

    async def _list_files(self, series: Series, span: Span) -> tuple[ArchiveFile, ...]:
        cadences = _cadences(series)
        listed = await self._listed(series, Cadence.MONTHLY, span) if Cadence.MONTHLY in cadences else {}
        months = self._paired(series, listed, span)
        if Cadence.DAILY not in cadences:
            return tuple(months)
        rest = uncovered(span, whole_months(span, months))
        found = await asyncio.gather(*(self._listed(series, Cadence.DAILY, part) for part in rest))
        days = {key: each for objects in found for key, each in objects.items()}  # pages may reach over their part
        return choose(span, months, self._paired(series, days, span))

    async def list_all(self, series: Series) -> tuple[ArchiveFile, ...]:
        """Every archive of a series, months and days alike, in order of time."""
        async with self._series:
            found = await asyncio.gather(*(self._listed(series, cadence, EVER) for cadence in _cadences(series)))
        return tuple(file for objects in found for file in self._paired(series, objects, EVER))

    async def list_since(self, series: Series, cadence: Cadence, first: date) -> tuple[ArchiveFile, ...]:
        """The archives of one cadence that end on `first` or later, in order of time; one page is 500 of them."""
        span = Span(Span.of_days(first, first).start_us, EVER.end_us)
        async with self._series:
            return tuple(self._paired(series, await self._listed(series, cadence, span), span))

    async def first_day(self, series: Series, cadence: Cadence) -> date | None:
        """The first day that archives of a cadence cover, by one small page of the listing; None if there are none."""
        prefix = folder_of(series, cadence)
        async with self._series:
            page = await self._page(prefix, None, FIRST_KEYS)
        known = [parsed for each in page.objects if (parsed := parse_key(each.key)) is not None]
        return known[0][1].first if known else None

    async def probe(self, series: Series, period: Period) -> ArchiveFile | None:
        """An archive that is not listed, if its `.CHECKSUM` is there: one small request. Size and ETag are unknown."""
        key = key_of(series, period)
        try:
            await self._smart.read(url_of(self._settings.source, key) + CHECKSUM, CHECKSUM_BYTES, key + CHECKSUM)
        except NotPublished:
            return None
        return self.unlisted(series, period)

    def unlisted(self, series: Series, period: Period) -> ArchiveFile:
        """How an archive is called that is not listed; nobody is asked."""
        return ArchiveFile(series, period, key_of(series, period), 0, "", None, "")

    def proves(self, file: ArchiveFile, sha256: str) -> Proof | None:
        """Whether the listed ETag of the `.CHECKSUM` vouches for this digest."""
        return _proved_by_etag(file, sha256)

    async def adopt(self, download: Download) -> FetchedFile | None:
        """The archive that lies in `raw/` already, if it verifies; no byte of it is fetched."""
        found = await self._smart.adopt(self._target(download.file), self._expected(download))
        return None if found is None else _fetched_file(download.file, found)

    async def download(self, download: Download) -> FetchedFile:
        """The verified archive under its place in `raw/`. Raises ChecksumMismatch when no proof can be had."""
        file = download.file
        url = url_of(self._settings.source, file.key)
        return _fetched_file(file, await self._smart.fetch(url, self._target(file), self._expected(download), file.key))

    def _target(self, file: ArchiveFile) -> Path:
        return self._layout.raw(file.series, file.period)

    def _expected(self, download: Download) -> Expected:
        file = download.file
        verify = functools.partial(self._verify, file)
        if not file.etag:  # it was not listed
            return Expected(None, None, verify)
        if download.fault is State.CORRUPT:  # the listing vouched for these bytes already: ask for the `.CHECKSUM`
            return Expected(file.size, file.etag, verify)
        return Expected(file.size, file.etag, verify, functools.partial(_proved_by_etag, file))

    # listing

    async def _folders(self, prefix: str) -> list[str]:
        return [
            folder.removeprefix(prefix).rstrip("/") async for page in self._walk(prefix) for folder in page.prefixes
        ]

    async def _listed(self, series: Series, cadence: Cadence, span: Span) -> dict[str, ListedObject]:
        """The objects of one cadence on the pages that hold the span, by key."""
        prefix = folder_of(series, cadence)
        objects: dict[str, ListedObject] = {}
        async for page in self._walk(prefix, self._before(series, cadence, span)):
            objects |= {each.key: each for each in page.objects}
            last = parse_key(page.objects[-1].key.removesuffix(CHECKSUM)) if page.objects else None
            if last is not None and last[1].span.start_us >= span.end_us:
                break
        return objects

    def _before(self, series: Series, cadence: Cadence, span: Span) -> str:
        """A key just before the first one that is wanted: names of a folder are in order of time."""
        name = DATASETS[series.dataset].remote if series.interval is None else series.interval
        first = day_of(span.start_us)
        label = first.strftime("%Y-%m") if cadence is Cadence.MONTHLY else (first - timedelta(days=1)).isoformat()
        after = "" if cadence is Cadence.MONTHLY else "~"
        return f"{folder_of(series, cadence)}{series.symbol}-{name}-{label}{after}"

    def _paired(self, series: Series, objects: dict[str, ListedObject], span: Span) -> list[ArchiveFile]:
        """The archives among them that overlap the span, in order of time; names of odd shape are reported."""
        files = []
        for key, each in objects.items():
            if key.endswith(CHECKSUM):
                continue
            parsed = parse_key(key)
            if parsed is None or parsed[0] != series:
                self._emit(FindingRaised(Finding(series, span, "odd-key", f"{key} is listed, but is no name we know")))
            elif parsed[1].span.overlaps(span):
                sidecar = objects.get(key + CHECKSUM)
                etag = sidecar.etag if sidecar else None
                files.append(ArchiveFile(series, parsed[1], key, each.size, each.etag, etag, each.modified))
        return sorted(files, key=lambda file: file.period.span)

    def _walk(self, prefix: str, start_after: str | None = None) -> AsyncIterator[ListingPage]:
        return walk(functools.partial(self._page, prefix), start_after)

    async def _page(self, prefix: str, marker: str | None, most: int | None = None) -> ListingPage:
        url = listing_url(self._settings.listing, prefix, marker, most=most)
        body = await self._smart.read(url, PAGE_BYTES, f"listing of {prefix}")
        return parse_page(body, f"the answer to {url}")

    # verification

    async def _verify(self, file: ArchiveFile, digests: Digests) -> Proof:
        """The official SHA-256, by the `.CHECKSUM`, where the listing did not settle it."""
        url = url_of(self._settings.source, file.key)
        try:
            text = await self._smart.read(url + CHECKSUM, CHECKSUM_BYTES, file.key + CHECKSUM)
        except NotPublished:
            return await self._without_checksum(file, digests)
        expected = _parse_checksum(text, file, digests.sha256)
        if expected != digests.sha256:
            raise ChecksumMismatch(
                f"{file.key}: the exchange's SHA-256 is {expected}, ours is {digests.sha256}",
                expected,
                digests.sha256,
            )
        return Proof.SHA256_BY_CHECKSUM

    async def _without_checksum(self, file: ArchiveFile, digests: Digests) -> Proof:
        md5 = await digests.md5()
        if md5 != file.etag:
            raise ChecksumMismatch(
                f"{file.key}: no .CHECKSUM is published and the MD5 is {md5}, not the listed {file.etag}",
                file.etag,
                md5,
            )
        return Proof.UNVERIFIED


def _cadences(series: Series) -> tuple[Cadence, ...]:
    """In which cadences the exchange publishes a series."""
    return DATASETS[series.dataset].cadences_of(series.interval)


def _fetched_file(file: ArchiveFile, fetched: Fetched) -> FetchedFile:
    """As what came: it may be newer than the listed one, or older from a cache, and the next listing tells."""
    if fetched.etag is not None and (fetched.etag, fetched.size) != (file.etag, file.size):
        file = replace(file, etag=fetched.etag, size=fetched.size)
    return FetchedFile(file, fetched.path, fetched.size, fetched.sha256, fetched.proof, fetched.transferred)


def _proved_by_etag(file: ArchiveFile, sha256: str) -> Proof | None:
    """The listed ETag of a `.CHECKSUM` is the MD5 of its text, and that is made of the SHA-256 and the name: if ours
    has this MD5, the published digest is ours. The MD5 of the archive itself would say nothing more."""
    digest = hashlib.md5(f"{sha256}  {file.name}".encode(), usedforsecurity=False)
    if digest.hexdigest() == file.checksum_etag:
        return Proof.SHA256_BY_ETAG  # older ones end without a newline
    digest.update(b"\n")
    return Proof.SHA256_BY_ETAG if digest.hexdigest() == file.checksum_etag else None


def _parse_checksum(text: bytes, file: ArchiveFile, sha256: str) -> str:
    """The digest that a `.CHECKSUM` gives. Anything odd in it is a mismatch: it too may be damaged on its way."""
    match = _CHECKSUM_LINE.fullmatch(text.decode("utf-8", "replace"))
    if match is None:
        raise ChecksumMismatch(f"{file.key}{CHECKSUM} is not a checksum line: {text[:80]!r}", repr(text[:80]), sha256)
    if match.group(2) != file.name:
        raise ChecksumMismatch(f"{file.key}{CHECKSUM} speaks of {match.group(2)!r}", match.group(2), file.name)
    return match.group(1).lower()
