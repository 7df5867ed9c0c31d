"""The files of a built index: the FAISS index, and what it was built from, by which files of another one are told."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss

from index.bases import BaseIndex, UnusableIndexError
from index.files import HomeFiles, digest
from index.kinds import FLAT_FP16, IVF_FP16
from index.lists import Lists
from index.tuning import Tuning
from index.types import SnapshotRecord, SpaceRecord

INDEX_FORMAT = "anacrusis-index"
INDEX_FORMAT_VERSION = 2
_FLAT_ONLY = 1  # the version before, which knew no other kind


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
    near_sha256: str = ""
    patched_rows: int = 0
    format: str = INDEX_FORMAT
    version: int = INDEX_FORMAT_VERSION


@dataclass(frozen=True, eq=False)
class ReadIndex:
    """What the files of an index hold; see `BaseIndex`."""

    index: Any
    scale: float
    near: Lists | None = None
    tuning: Tuning | None = None


def write_index(files: HomeFiles, folder: str, base: BaseIndex, space: SpaceRecord, snapshot: SnapshotRecord) -> None:
    """Write the files of a snapshot's index, the manifest last.

    Raises
    ------
    OSError, HomeFullError, HomeUnreachableError
    """
    manifest = _manifest(space, snapshot, base.ids_sha256, len(base.track_ids), base.scale)
    codes = base.index.ntotal * base.index.code_size
    manifest["index_sha256"] = _fill(
        files, f"{folder}/base.faiss", lambda path: _write_codes(base.index, path, least_bytes=codes)
    )
    if base.near is not None and base.tuning is not None:
        manifest["near_sha256"] = _fill(files, f"{folder}/near.index", base.near.write)
        manifest["patched_rows"] = base.near.patched_rows
        write_tuning(files, folder, base.tuning)
    files.write(f"{folder}/base.json", json.dumps(asdict(_Manifest(**manifest)), indent=1).encode())


def _write_codes(index: Any, path: Path, *, least_bytes: int) -> None:
    faiss.write_index(index, str(path))
    # FAISS only prints what goes wrong when a file is closed, which is when its last part is written.
    if path.stat().st_size < least_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def _fill(files: HomeFiles, name: str, write: Callable[[Path], object]) -> str:
    """Make a file and give its hash."""
    sha256 = ""

    def hashed(path: Path) -> None:
        nonlocal sha256
        write(path)
        sha256 = digest(path)

    files.fill(name, hashed)
    return sha256


def write_tuning(files: HomeFiles, folder: str, tuning: Tuning) -> None:
    """Say how a snapshot's approximate index is searched from now on.

    Raises
    ------
    OSError, HomeUnreachableError
    """
    files.write(f"{folder}/tuning.json", tuning.to_json())


def read_tuning(files: HomeFiles, folder: str) -> Tuning:
    """Read what `write_tuning` wrote.

    Raises
    ------
    UnusableIndexError
        It is missing or damaged.
    HomeUnreachableError
    """
    try:
        return Tuning.from_json(files.read(f"{folder}/tuning.json"))
    except OSError as error:
        raise UnusableIndexError(f"its tuning cannot be read ({type(error).__name__})") from error


def read_index(
    files: HomeFiles,
    folder: str,
    space: SpaceRecord,
    snapshot: SnapshotRecord,
    ids_sha256: str,
    count: int,
    *,
    mapped: bool = False,
) -> ReadIndex:
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
    ReadIndex

    Raises
    ------
    UnusableIndexError
        A file is missing or damaged, or belongs to another index.
    HomeUnreachableError
    """
    try:
        found = _Manifest(**json.loads(files.read(f"{folder}/base.json")))
        path = files.checked(f"{folder}/base.faiss", found.index_sha256)
        near_path = files.checked(f"{folder}/near.index", found.near_sha256) if found.near_sha256 else None
    except (OSError, ValueError, TypeError) as error:
        raise UnusableIndexError(f"its files cannot be read ({type(error).__name__})") from error
    expected = _manifest(space, snapshot, ids_sha256, count, found.scale)
    if found.version == _FLAT_ONLY:
        expected["version"] = _FLAT_ONLY
    for name, value in expected.items():
        if getattr(found, name) != value:
            raise UnusableIndexError(f"{name} is {getattr(found, name)!r} where {value!r} was expected")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as error:
        raise UnusableIndexError("FAISS cannot read it") from error
    if index.ntotal != count or index.d != space.dim:
        raise UnusableIndexError(f"it holds {index.ntotal} vectors of {index.d} where {count} were expected")
    if found.kind == FLAT_FP16:
        return ReadIndex(index, float(found.scale))
    if found.kind != IVF_FP16 or near_path is None:
        raise UnusableIndexError(f"its kind is {found.kind!r}, and what belongs to that is not there")
    near = Lists.read(near_path, index, found.patched_rows, mapped=mapped)
    return ReadIndex(index, float(found.scale), near, read_tuning(files, folder))


def _manifest(
    space: SpaceRecord, snapshot: SnapshotRecord, ids_sha256: str, count: int, scale: float
) -> dict[str, Any]:
    """Give what is known of an index before its files are."""
    return {
        "kind": snapshot.index_kind,
        "space_id": space.space_id,
        "served_version": snapshot.served_version,
        "count": count,
        "dim": space.dim,
        "metric": space.metric.value,
        "scale": scale,
        "ids_sha256": ids_sha256,
        "format": INDEX_FORMAT,
        "version": INDEX_FORMAT_VERSION,
    }
