"""Libraries that search vectors in process, behind one protocol: this one, and its peers of the extra `bench`."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from anacrusis.bench.errors import BenchError

Float32Array = NDArray[np.float32]
Int64Array = NDArray[np.int64]


class Contender(Protocol):
    """One index over the rows of a matrix, by inner product.

    Attributes
    ----------
    efforts : sequence of int
        What a search may be told, ascending: more finds more and takes longer. ``(0,)``: nothing.
    """

    efforts: Sequence[int]

    def build(self, vectors: Float32Array, folder: Path) -> None:
        """Build the index of vectors of shape (n, dim) in an empty folder, on as many cores as there are."""

    def open(self, folder: Path, k: int) -> None:
        """Open what was built, to be asked for k neighbours a query."""

    def search(self, query: Float32Array, effort: int) -> Any:
        """Answer one query of shape (dim,), in the library's own form."""

    def rows(self, answer: Any) -> Int64Array:
        """Read the rows of the matrix from an answer, best first; not timed."""


OURS = "anacrusis"


@dataclass(frozen=True)
class Listed:
    """A contender by name.

    Attributes
    ----------
    name : str
    package : str
        Whose version is told.
    module : str
        What has to be there to be imported.
    make : callable returning Contender
    what : str
        Which of the library's indexes, with which parameters.
    peer : bool
        Whether it is another library.
    """

    name: str
    package: str
    module: str
    make: Callable[[], Contender]
    what: str
    peer: bool = True


def missing(listed: Listed) -> str:
    """Say why a contender cannot take part; empty where it can."""
    try:
        importlib.import_module(listed.module)
    except ImportError as error:
        return f"{listed.module} cannot be imported ({error}): install the extra with pip install 'anacrusis[bench]'"
    return ""


def version(listed: Listed) -> str:
    """Give the version that is installed."""
    return importlib.metadata.version(listed.package)


def all_contenders() -> dict[str, Listed]:
    """List every contender by name; imports none of the libraries."""
    from anacrusis.bench import our_index, peer_databases, peer_graphs

    found = (*our_index.LISTED, *peer_graphs.LISTED, *peer_databases.LISTED)
    return {one.name: one for one in found}


def contender(name: str) -> Listed:
    """Find a contender.

    Raises
    ------
    BenchError
    """
    known = all_contenders()
    if name not in known:
        raise BenchError(f"no library is called {name!r}: use one of {', '.join(known)}")
    return known[name]
