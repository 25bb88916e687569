"""A process that stores what a run fetches (`core.storage.pool` starts it). It ends when the run is gone.

Importing this module loads all that storing needs.
"""

import contextlib
import gc
import logging
import os
import pickle
import select
import threading
import traceback
from collections.abc import Callable
from typing import IO

from core.errors import MarketDataError, StorageError
from core.events import LOGGER
from core.storage.manager import StorageManager
from core.storage.messages import Answer, Begun, Done, Expect, Failed, Line, Order, Ready, Terms

Send = Callable[[Answer], None]


def main() -> None:
    """Answer requests until there are none; what has not been begun when the run ends is left."""
    requests, answers = _own_pipes()
    lock = threading.Lock()

    def send(answer: Answer) -> None:
        data = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
        with lock:  # log lines come from threads of their own
            answers.write(data)
            answers.flush()

    with contextlib.suppress(EOFError, BrokenPipeError, pickle.UnpicklingError):  # the run is gone, even in mid-word
        _serve(requests, send)
    os._exit(0)  # nothing is open any more, and taking an interpreter down takes a while


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output, for ourselves: a library that prints something does not speak for us."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return requests, answers


def _serve(requests: IO[bytes], send: Send) -> None:
    terms: Terms = pickle.load(requests)  # noqa: S301 (from the run that started us)
    LOGGER.setLevel(terms.log_level)
    LOGGER.propagate = False
    LOGGER.addHandler(_Forward(send))
    storage = StorageManager(terms.layout, terms.settings, terms.quality, check=terms.check)
    gc.freeze()
    gc.enable()
    send(Ready())
    ending = select.poll()
    ending.register(requests, 0)
    while True:
        request: Expect | Order = pickle.load(requests)  # noqa: S301 (from the run that started us)
        if ending.poll(0):
            return  # the run has closed its end: nobody waits for this any more
        if isinstance(request, Order):
            send(Begun())
            send(_answer(storage, request))
        else:
            storage.expect(request.archive_bytes)
            storage.prepare()
            gc.freeze()


def _answer(storage: StorageManager, order: Order) -> Done | Failed:
    try:
        return Done(storage.held(order.files) if order.only_look else storage.store(order.files, order.fresh))
    except MarketDataError as error:
        return Failed(error)
    except Exception as error:  # told to the run, which goes on with other archives
        LOGGER.info("storing %s: %s", order.files[0].file.key, traceback.format_exc())
        return Failed(StorageError(repr(error)))


class _Forward(logging.Handler):
    """Sends log lines to the run."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(Line(record.levelno, record.getMessage(), record.created))
