"""Searches and the encoder share the cores of a process that does both."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import faiss
import numpy as np
import torch

from jobs import Engine, Query, Threads


def test_a_search_leaves_the_encoder_its_cores(home: Path) -> None:
    before = torch.get_num_threads()
    found: list[tuple[int, int]] = []
    with Engine.open(home, device="cpu", threads=Threads(search=5, search_beside_encoder=2, encoder=1)) as engine:

        def search(count: int) -> int:
            answers = engine.search([Query(vector=np.ones(8, np.float32))] * count)
            assert not any(isinstance(answer, Exception) for answer in answers)
            return faiss.omp_get_max_threads()  # of this thread: what a search may take, however many it takes

        def measure() -> None:
            found.extend((count, search(count)) for count in (1, 3, 8))
            with engine.ingester._encoding:
                found.extend((count, search(count)) for count in (1, 8))

        thread = threading.Thread(target=measure)  # whose number is its own
        thread.start()
        thread.join()
        assert found == [(1, 5), (3, 5), (8, 5), (1, 2), (8, 2)]
        torch.set_num_threads(3)
        assert engine.encoder is not None  # loading it sets the number
        assert torch.get_num_threads() == 1
    torch.set_num_threads(before)


def test_a_servers_products_take_one_thread_and_its_searches_as_many_as_before() -> None:
    script = (
        "import numpy; from threadpoolctl import threadpool_info; from jobs import keep_products_to_one_thread\n"
        "from index import usable_threads\n"
        "keep_products_to_one_thread()\n"
        "print([one['num_threads'] for one in threadpool_info() if 'numpy' in one['filepath']], usable_threads())"
    )
    own = os.environ | {"OPENBLAS_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=own, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[1] 5"
