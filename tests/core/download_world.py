"""One served object and a place for it: what the tests of the download engine share."""

import asyncio
import hashlib
import random
from pathlib import Path

from core.download.part import SMALL_BYTES
from core.download.smart import Digests, Expected, Fetched, SmartDownloader
from core.download.transport import open_transport
from core.errors import ChecksumMismatch
from core.events import Event
from core.sample.faults import Rule
from core.sample.server import ArchiveServer
from core.settings import DownloadSettings
from core.types import Proof

QUICK = DownloadSettings(timeout_seconds=5.0, backoff_seconds=0.001, backoff_cap_seconds=0.002, max_attempts=3)
BODY = random.Random(1).randbytes(3 * SMALL_BYTES + 777)
OTHER = random.Random(2).randbytes(len(BODY))


def expecting(body: bytes, etag: str | None = None) -> Expected:
    async def verify(digests: Digests) -> Proof:
        wanted = hashlib.sha256(body).hexdigest()
        assert digests.size == len(body) or digests.sha256 != wanted
        if digests.sha256 != wanted:
            raise ChecksumMismatch(f"expected {wanted}, got {digests.sha256}", wanted, digests.sha256)
        assert await digests.md5() == hashlib.md5(body).hexdigest()
        return Proof.SHA256_BY_CHECKSUM

    return Expected(len(body), etag or hashlib.md5(body).hexdigest(), verify)


class World:
    """A served folder with one object, a place for it, and the events of all fetches."""

    def __init__(self, folder: Path, body: bytes = BODY) -> None:
        self.served = folder / "served"
        self.served.mkdir(parents=True)
        (self.served / "file.zip").write_bytes(body)
        self.target = folder / "here" / "file.zip"
        self.part = folder / "here" / "file.zip.part"
        self.events: list[Event] = []
        self.hits = 0
        self.sent = 0
        self.ranges: list[str | None] = []

    def fetch(
        self, faults: Rule | None = None, expected: Expected | None = None, settings: DownloadSettings = QUICK
    ) -> Fetched:
        async def run() -> Fetched:
            async with ArchiveServer(self.served, faults=faults) as server, open_transport(8) as transport:
                smart = SmartDownloader(transport, settings, self.events.append)
                try:
                    return await smart.fetch(
                        f"{server.url}/file.zip", self.target, expected or expecting(BODY), "file.zip"
                    )
                finally:
                    self.hits = server.hits["file.zip"]
                    self.sent = server.body_bytes["file.zip"]
                    self.ranges = [request.headers.get("range") for request in server.requests]

        return asyncio.run(run())

    def leave_part(self, content: bytes) -> None:
        self.part.parent.mkdir(parents=True, exist_ok=True)
        self.part.write_bytes(content)

    @property
    def is_right(self) -> bool:
        return self.target.read_bytes() == BODY and not self.part.exists()
