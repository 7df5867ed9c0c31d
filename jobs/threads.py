"""How the threads of one process share the cores."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threads:
    """So many threads work at a time.

    Threads that split a piece of work wait for each other, spinning at first. Where there are more of them than cores,
    each waits for one that is not running, and calls of all kinds take many times as long.

    Attributes
    ----------
    search : int
        Of one search on the CPU while nothing is encoded, 1 or more.
    search_beside_encoder : int
        Of one search while the encoder works, 1 or more.
    encoder : int
        Of torch, for the encoder and the transfer, 1 or more.
    """

    search: int
    search_beside_encoder: int
    encoder: int


def keep_products_to_one_thread() -> None:
    """Have each of NumPy's matrix products take one thread, in the whole process and for good.

    Its BLAS shares a product of 5,000 rows with one query among all cores, and its threads spin until all have come:
    30 us where nothing else runs, and 10 ms where other processes use the cores.
    """
    from threadpoolctl import ThreadpoolController

    # By pthreads, as NumPy's wheels have it: FAISS brings a BLAS of its own, whose threads are OpenMP's.
    # One after the other: of several conditions in one call, any would do.
    ThreadpoolController().select(internal_api="openblas").select(threading_layer="pthreads").limit(limits=1)
