"""The files of a built index: the FAISS index, and what it was built from, by which files of another one are told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss

from index.bases import BaseIndex
from index.files import HomeFiles, digest
from index.types import SnapshotRecord, SpaceRecord

INDEX_FORMAT = "anacrusis-index"
INDEX_FORMAT_VERSION = 1


@dataclass(frozen=True)
class _Manifest:
    """What ``base.json`` says of ``base.faiss``."""

    kind: str
    space_id: str
    served_version: int
    count: int
    dim: int
    metric: str
    scale: float
    ids_sha256: str
    index_sha256: str
    format: str = INDEX_FORMAT
    version: int = INDEX_FORMAT_VERSION


class UnusableIndexError(Exception):
    """The files on disk do not hold the index that they should; never leaves this room: it is built anew."""


def write_index(files: HomeFiles, folder: str, base: BaseIndex, space: SpaceRecord, snapshot: SnapshotRecord) -> None:
    """Write the files of a snapshot's index, the manifest last.

    Raises
    ------
    OSError, HomeUnreachableError
    """
    sha256 = ""

    def write(path: Path) -> None:
        nonlocal sha256
        faiss.write_index(base.index, str(path))
        sha256 = digest(path)

    files.fill(f"{folder}/base.faiss", write)
    manifest = _manifest(space, snapshot, base.ids_sha256, len(base.track_ids), base.scale, sha256)
    files.write(f"{folder}/base.json", json.dumps(asdict(manifest), indent=1).encode())


def read_index(
    files: HomeFiles,
    folder: str,
    space: SpaceRecord,
    snapshot: SnapshotRecord,
    ids_sha256: str,
    count: int,
    *,
    mapped: bool = False,
) -> tuple[Any, float]:
    """Read a snapshot's index.

    Parameters
    ----------
    ids_sha256 : str
        Hash of the ids that its rows have to stand for.
    count : int
        How many those are.
    mapped : bool
        Whether its codes stay in the file, of which all processes of a machine share one copy in memory, and are never
        written to.

    Returns
    -------
    (index, scale) : faiss.IndexScalarQuantizer and float

    Raises
    ------
    UnusableIndexError
        A file is missing or damaged, or belongs to another index.
    HomeUnreachableError
    """
    try:
        found = _Manifest(**json.loads(files.read(f"{folder}/base.json")))
        path = files.checked(f"{folder}/base.faiss", found.index_sha256)
    except (OSError, ValueError, TypeError) as error:
        raise UnusableIndexError(f"its files cannot be read ({type(error).__name__})") from error
    expected = _manifest(space, snapshot, ids_sha256, count, found.scale, found.index_sha256)
    for name, value in asdict(expected).items():
        if getattr(found, name) != value:
            raise UnusableIndexError(f"{name} is {getattr(found, name)!r} where {value!r} was expected")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as error:
        raise UnusableIndexError("FAISS cannot read it") from error
    if index.ntotal != expected.count or index.d != expected.dim:
        raise UnusableIndexError(f"it holds {index.ntotal} vectors of {index.d} where {expected.count} were expected")
    return index, float(found.scale)


def _manifest(
    space: SpaceRecord, snapshot: SnapshotRecord, ids_sha256: str, count: int, scale: float, index_sha256: str
) -> _Manifest:
    return _Manifest(
        kind=snapshot.index_kind,
        space_id=space.space_id,
        served_version=snapshot.served_version,
        count=count,
        dim=space.dim,
        metric=space.metric.value,
        scale=scale,
        ids_sha256=ids_sha256,
        index_sha256=index_sha256,
    )
