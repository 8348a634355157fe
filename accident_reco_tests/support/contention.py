"""Several writers of one object at once: what compare-and-swap promises, for any object store."""

import threading

from accident_reco.storage.objects import ObjectStore, SwapConflict


def count_together(store: ObjectStore, *, threads: int, times: int) -> int:
    """Let threads add one to the same object, `times` each, trying again after a conflict; gives what it holds then."""
    store.write("n", b"0")

    def add() -> None:
        added = 0
        while added < times:
            value, tag = store.read_tagged("n")
            try:
                store.swap("n", str(int(value) + 1).encode(), tag)
                added += 1
            except SwapConflict:
                continue

    adders = [threading.Thread(target=add) for _ in range(threads)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    return int(store.read("n"))
