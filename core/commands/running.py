"""What the commands that download work with."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from core.download.asking import Asking
from core.download.smart import SmartDownloader
from core.download.tracker import DownloadTracker
from core.download.transport import open_transport
from core.events import Emit, Snapshot, fan_out, log_event
from core.exchanges import EXCHANGES
from core.exchanges.archive import Archive
from core.jobs.store import Store
from core.jobs.sync import Scope, Sync
from core.layout import Layout
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Running:
    """A command with its connections open; `line` is what was typed."""

    settings: Settings
    line: str
    layout: Layout
    smart: SmartDownloader
    archive: Archive
    snapshot: Snapshot
    emit: Emit

    def progress(self) -> dict[str, int]:
        """How many bytes of each archive that is being fetched are here."""
        return {key: file.bytes_done for key, file in self.snapshot.active.copy().items()}

    def sync(
        self,
        tracker: DownloadTracker,
        storage: Store | None,
        asking: Asking,
        scope: Scope = Scope.ALL,
        fresh: bool = False,
    ) -> Sync:
        """What brings archives here, by the settings."""
        return Sync(
            self.archive,
            tracker,
            storage,
            self.layout,
            self.emit,
            scope=scope,
            workers=self.settings.download.workers,
            fresh=fresh,
            asking=asking,
            takes_rows=not self.settings.storage.keep_raw,
            progress=self.progress,
            hold=self.smart.hold,
            line=self.line,
        )


@contextlib.asynccontextmanager
async def running(settings: Settings, line: str, adopts: bool = True) -> AsyncIterator[Running]:
    """With `adopts`, an archive that lies here is verified and not fetched."""
    layout, snapshot = Layout(settings.data_root), Snapshot()
    emit = fan_out(snapshot.apply, log_event)
    async with open_transport(settings.download.workers, settings.download.http2) as transport:
        smart = SmartDownloader(transport, settings.download, emit, adopts=adopts)
        archive = EXCHANGES["binance"](settings.download, layout, smart, emit)
        yield Running(settings, line, layout, smart, archive, snapshot, emit)
