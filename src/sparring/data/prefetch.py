"""Running an iterator ahead of its reader in a thread."""

import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_END = object()


class Prefetch(Generic[T]):
    """The items of an iterator, of which up to `ahead` are made before they are asked for, in a thread.

    Pays where making an item waits or releases the interpreter's lock, as tokenizers do. An error of the iterator is
    raised in the place of the item. The thread starts with the first item and ends with `close`, or with this object.
    """

    def __init__(self, items: Iterator[T], ahead: int = 4) -> None:
        self._items = items
        self._made: queue.Queue[object] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __iter__(self) -> "Prefetch[T]":
        return self

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self._items, self._made, self._stop), daemon=True)
            self._thread.start()
            # Also at the interpreter's end: a thread that is in foreign code then would crash it.
            self._close = weakref.finalize(self, _end, self._thread, self._stop)
        item = self._made.get()
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        if item is _END:
            self.close()
            raise StopIteration
        return item  # type: ignore[return-value]

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._close()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _run(items: Iterator[object], made: "queue.Queue[object]", stop: threading.Event) -> None:
    try:
        for item in items:
            if not _put(made, item, stop):
                return
        _put(made, _END, stop)
    except BaseException as error:  # whatever it is, the reader raises it
        _put(made, _Failure(error), stop)


def _put(made: "queue.Queue[object]", item: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            made.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _end(thread: threading.Thread, stop: threading.Event) -> None:
    stop.set()
    if thread is not threading.current_thread():
        thread.join(timeout=10)
