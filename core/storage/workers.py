"""Worker processes that are at an end when the one that started them is: however that ends, and at once if it gives
up. What they write has a temporary name until it is whole, so that they may be ended at any moment."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


@contextmanager
def workers(
    count: int, begin: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """A pool of `count` fresh processes, each of which begins with `begin(*arguments)`. Ctrl-C is this process's
    concern alone. Left by an exception, nothing further is begun, and what is under way is given up."""
    context = get_context("spawn")
    life, ours = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _begin, (life, begin, arguments))
    try:
        yield pool
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        life.close()


def _begin(life: Connection, begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(life,), name="life", daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _end_with(life: Connection) -> None:
    """Nothing is ever sent: the pipe ends with the process that has its other end."""
    with suppress(EOFError, OSError):
        life.recv_bytes()
    os._exit(1)
