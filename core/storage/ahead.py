"""Work that goes on in a thread of its own, a few items ahead of whoever takes them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
_END: Final = object()


@contextmanager
def ahead(items: Iterable[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """The same items in the same order, up to `depth` of them made, or being made, before they are asked for.

    What making one raises is raised where it would have been given out. Leaving the block ends the thread, after the
    item that it is busy with. Items are made by code that releases the interpreter lock, or nothing is gained.
    """
    made: queue.SimpleQueue[object] = queue.SimpleQueue()
    room = threading.Semaphore(depth)
    failures: list[BaseException] = []
    is_left = threading.Event()

    def make() -> None:
        try:
            source = iter(items)
            while room.acquire() and not is_left.is_set():
                made.put(next(source))
        except StopIteration:
            pass
        except BaseException as error:
            failures.append(error)
        finally:
            made.put(_END)

    def taken() -> Iterator[T]:
        while (item := made.get()) is not _END:
            room.release()
            yield item  # type: ignore[misc]
        if failures:
            raise failures[0]

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        is_left.set()
        room.release()
        thread.join()
