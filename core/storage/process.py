"""One process that stores, as the run sees it: requests go to it, answers come back in their order. Needs no Arrow."""

import logging
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from io import BufferedReader, FileIO
from typing import Final, cast

from core.errors import StorageError
from core.events import LOGGER
from core.storage.messages import Answer, Done, Expect, Failed, Line, Order, Ready, Request, Terms
from core.types import Stored

_PROGRAM: Final = """\
import gc, sys
gc.disable()
sys.path[:] = sys.argv[1:]
from core.storage.worker import main
main()
"""
_SPARED: Final = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
"""What a terminal or a service manager sends to all processes of a run. Only the run itself hears it, and then lets the
others end what they are at; when it is gone they end by themselves."""


class NotBegun(Exception):
    """The process has ended before it came to this order."""


class StoringProcess:
    """Starts with its making. Raises StorageError if the system does not let it.

    It is another program rather than a copy of this one, which may have threads and a running event loop.
    """

    def __init__(self, terms: Terms) -> None:
        self._process = _started()
        self._requests = cast(FileIO, self._process.stdin)
        self._sending = threading.Lock()
        self._waiting: deque[tuple[Order, Future[Stored]]] = deque()
        self._is_ready = False
        self._is_warned = False
        self.has_ended = False
        self.has_answered = False
        self._listening = threading.Thread(target=self._listen, name="storing", daemon=True)
        self._listening.start()
        self._send(terms)

    @property
    def waiting(self) -> int:
        """Orders that it has not answered."""
        return len(self._waiting)

    def ask(self, order: Order) -> "Future[Stored]":
        """What becomes of an order. The future raises what the process raised, or NotBegun."""
        answer: Future[Stored] = Future()
        with self._sending:
            if self.has_ended:
                raise NotBegun
            self._waiting.append((order, answer))
            self._send(order)
        return answer

    def warn(self, archive_bytes: int) -> None:
        """Let it get ready for much, once, and while it has nothing to do."""
        if not self._is_warned and not self._waiting and self._sending.acquire(blocking=False):
            try:
                self._is_warned = True
                self._send(Expect(archive_bytes))
            finally:
                self._sending.release()

    def close(self) -> None:
        """Nothing more will come; it ends after what it is at. Does not wait for it."""
        with self._sending:
            self._requests.close()
            if not self._is_ready and not self._waiting:
                self._process.kill()  # it is still loading, for nobody

    def join(self) -> None:
        """Wait until it has ended."""
        self._listening.join()

    @property
    def end(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode
        if code is None or code >= 0:
            return f"ended with exit code {code}"
        hint = "; is memory short?" if -code == signal.SIGKILL else ""
        return f"was ended by {signal.Signals(-code).name}{hint}"

    def _send(self, request: Request) -> None:
        data = memoryview(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
        try:
            while data:
                data = data[self._requests.write(data) :]
        except (OSError, ValueError):
            pass  # it has ended, or is closed: whoever waits is told when its last word has been heard

    def _listen(self) -> None:
        """Give the answers to those who wait for them, until there are no more."""
        answers = BufferedReader(cast(FileIO, self._process.stdout))
        try:
            while True:
                self._hear(pickle.load(answers))  # noqa: S301 (from a process of our own)
        except (EOFError, OSError, pickle.UnpicklingError):
            pass
        finally:
            answers.close()
            self._process.wait()
            with self._sending:
                self.has_ended = True
                self._requests.close()
            self._tell_end()

    def _hear(self, answer: Answer) -> None:
        match answer:
            case Ready():
                self._is_ready = True
            case Line():
                record = {"name": LOGGER.name, "levelno": answer.level, "msg": answer.text, "created": answer.created}
                LOGGER.handle(logging.makeLogRecord({**record, "levelname": logging.getLevelName(answer.level)}))
            case Done():
                self.has_answered = True
                self._waiting.popleft()[1].set_result(answer.stored)
            case Failed():
                self.has_answered = True
                self._waiting.popleft()[1].set_exception(answer.error)

    def _tell_end(self) -> None:
        """What it was at has failed; the rest can be asked of another."""
        if self._waiting and self._is_ready and self._process.returncode != 0:
            order, answer = self._waiting.popleft()
            keys = f"{order.files[0].file.key}{f' and {n - 1} more' if (n := len(order.files)) > 1 else ''}"
            answer.set_exception(
                StorageError(f"the process that stored {keys} {self.end}; run the same command again for these")
            )
        while self._waiting:
            self._waiting.popleft()[1].set_exception(NotBegun())


def _started() -> "subprocess.Popen[bytes]":
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _SPARED)  # inherited, and so from its first moment on
    try:
        return subprocess.Popen(  # noqa: S603 (our own program)
            [sys.executable, "-P", "-c", _PROGRAM, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
    except OSError as error:
        raise StorageError(f"cannot start a process that stores: {error}; end some others and run again") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
