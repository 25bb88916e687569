"""Work that goes on in a thread of its own, a few items ahead of whoever takes them."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

T = TypeVar("T")
_END: Final = object()


@contextmanager
def ahead(items: Iterable[T], depth: int = 1) -> Iterator[Iterator[T]]:
    """The same items in the same order, up to `depth` of them made before they are asked for.

    What making one raises is raised where it would have been given out. Leaving the block ends the thread, after the
    item that it is busy with. Items are made by code that releases the interpreter lock, or nothing is gained.
    """
    made: queue.Queue[object] = queue.Queue(depth)
    failures: list[BaseException] = []
    is_left = threading.Event()

    def make() -> None:
        try:
            for item in items:
                made.put(item)
                if is_left.is_set():
                    return
        except BaseException as error:
            failures.append(error)
        finally:
            made.put(_END)

    def taken() -> Iterator[T]:
        while (item := made.get()) is not _END:
            yield item  # type: ignore[misc]
        if failures:
            raise failures[0]

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        is_left.set()
        while thread.is_alive():
            try:
                made.get(timeout=0.05)
            except queue.Empty:
                continue
        thread.join()
