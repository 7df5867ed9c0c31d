"""Searches and the encoder share the cores of a process that does both."""

from __future__ import annotations

import threading
from pathlib import Path

import faiss
import numpy as np
import torch

from jobs import Engine, Query, Threads


def test_a_search_leaves_the_encoder_its_cores_and_takes_no_more_threads_than_queries(home: Path) -> None:
    before = torch.get_num_threads()
    found: list[tuple[int, int]] = []
    with Engine.open(home, device="cpu", threads=Threads(search=5, search_beside_encoder=2, encoder=1)) as engine:

        def search(count: int) -> int:
            answers = engine.search([Query(vector=np.ones(8, np.float32))] * count)
            assert not any(isinstance(answer, Exception) for answer in answers)
            return faiss.omp_get_max_threads()  # of this thread

        def measure() -> None:
            found.extend((count, search(count)) for count in (1, 3, 8))
            with engine.ingester._encoding:
                found.extend((count, search(count)) for count in (1, 8))

        thread = threading.Thread(target=measure)  # whose number is its own
        thread.start()
        thread.join()
        assert found == [(1, 1), (3, 3), (8, 5), (1, 1), (8, 2)]
        torch.set_num_threads(3)
        assert engine.encoder is not None  # loading it sets the number
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
