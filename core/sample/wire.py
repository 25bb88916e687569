"""One connection of the sample server: how an answer goes out, and how it breaks off when it should."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from core.sample.faults import Fault
from core.sample.http import Reply

_CHUNK_BYTES = 256 * 1024
_STEPS_PER_SECOND = 20
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Wire:
    """The two directions of a connection; `bytes_per_second` limits the bodies that it sends."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    bytes_per_second: int | None = None

    def __post_init__(self) -> None:
        # Nothing is buffered on our side, so that "after n bytes" means n bytes handed to the kernel.
        self.writer.transport.set_write_buffer_limits(high=0)

    async def send(self, reply: Reply, fault: Fault, count: Callable[[int], None]) -> bool:
        """Send an answer, `count` the bytes of its body; False if the connection is of no more use."""
        await self.send_head(reply)
        limits = (fault.reset_after, fault.cut_after, fault.stall_after)
        stop = min([limit for limit in limits if limit is not None], default=reply.length)
        if not await self._send_body(reply, 0, min(stop, reply.length), fault, count):
            return False
        if stop >= reply.length:
            return True
        if fault.stall_after != stop:
            return self._break_off(is_reset=fault.reset_after == stop)
        if not await self._stall(fault.stall_seconds):
            return False
        return await self._send_body(reply, stop, reply.length, fault, count)

    async def send_head(self, reply: Reply) -> bool:
        """Send the status line and headers alone: all that HEAD is answered."""
        self.writer.write(reply.head())
        await self.writer.drain()
        return True

    async def close(self) -> None:
        """Close in an orderly way."""
        self.writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await self.writer.wait_closed()

    async def _send_body(self, reply: Reply, first: int, last: int, fault: Fault, count: Callable[[int], None]) -> bool:
        """Send the bytes `[first, last)` of a body; False if the file has become shorter."""
        pace = self.bytes_per_second
        step = max(pace // _STEPS_PER_SECOND, 1) if pace else _CHUNK_BYTES
        while first < last:
            chunk = _chunk(reply, first, min(step, last - first), fault.flip_at)
            if not chunk:
                return False
            count(len(chunk))  # before it leaves: whoever has received it may look at the count at once
            self.writer.write(chunk)
            await self.writer.drain()
            first += len(chunk)
            if pace:
                await asyncio.sleep(len(chunk) / pace)
        return True

    def _break_off(self, is_reset: bool) -> bool:
        if is_reset:
            connection: socket.socket = self.writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # the client has gone already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.writer.transport.abort()
        return False

    async def _stall(self, seconds: float | None) -> bool:
        """Keep still; without an end until the client hangs up, and then there is nobody to go on for."""
        if seconds is None:
            await self.reader.read()
            return False
        await asyncio.sleep(seconds)
        return True


def _chunk(reply: Reply, offset: int, size: int, flip_at: int | None) -> bytes:
    position = reply.start + offset
    reply.source.seek(position)
    chunk = reply.source.read(size)
    if flip_at is None or not position <= flip_at < position + len(chunk):
        return chunk
    wrong = bytearray(chunk)
    wrong[flip_at - position] ^= 0xFF
    return bytes(wrong)
