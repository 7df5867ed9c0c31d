"""What the workers of a backfill do: read and decode, encode, write. Tables of rows in, tables of rows out.

Each function gets and gives Arrow tables, as Ray Data passes them on; nothing here knows Ray or the manifest.
"""

from __future__ import annotations

import atexit
import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from encoders import AudioLimits, DecodingPool, EncoderError
from index import ContentTarget
from jobs.errors import RayError
from jobs.outcome import REFUSALS
from jobs.release import Release
from jobs.release_audio import read_audio

if TYPE_CHECKING:
    from encoders import Encoder

# Waveforms that a table holds at most, beside one more track: bounds the memory of a worker.
TABLE_AUDIO_BYTES = 64 << 20

TO_HEAR = pa.schema(
    [
        pa.field("track_id", pa.string()),
        pa.field("artist_ids", pa.list_(pa.string())),
        pa.field("audio", pa.string()),
        pa.field("audio_uri", pa.string()),
    ]
)
"""Rows that a backfill begins with."""

_HEARING = [
    pa.field("track_id", pa.string()),
    pa.field("audio_sha256", pa.string()),
    pa.field("audio_uri", pa.string()),
    pa.field("duration_s", pa.float64()),
    pa.field("read_s", pa.float64()),
    pa.field("decode_s", pa.float64()),
    pa.field("reason", pa.string()),  # null, or why it is refused
    pa.field("message", pa.string()),
]
_DECODED = pa.schema([*_HEARING, pa.field("samples", pa.large_binary())])
STAGES = ("read", "decode", "encode", "write")
_SECONDS = tuple(f"{stage}_s" for stage in STAGES)
PART = pa.schema(
    [
        pa.field("fragment", pa.string()),  # null where no track was heard
        *(pa.field(name, pa.list_(pa.string())) for name in ("track_ids", "audio_sha256", "audio_uris")),
        *(pa.field(name, pa.list_(pa.string())) for name in ("refused_ids", "reasons", "messages")),
        pa.field("duration_s", pa.float64()),
        *(pa.field(name, pa.float64()) for name in _SECONDS),
    ]
)
"""A row that a backfill ends with: one part, what it holds and what it refused."""


def _encoded_schema(dim: int) -> pa.Schema:
    encoded = [pa.field("encode_s", pa.float64()), pa.field("content", pa.list_(pa.float32(), dim))]
    return pa.schema([*_HEARING, *encoded])


def to_hear(releases: Sequence[Release]) -> pa.Table:
    """Make rows of `TO_HEAR`; audio is given by its absolute path, which every machine has to know."""
    rows = [
        {
            "track_id": release.track_id,
            "artist_ids": list(release.artist_ids),
            "audio": str(Path(str(release.audio)).absolute()),
            "audio_uri": release.audio_uri or "",
        }
        for release in releases
    ]
    return pa.Table.from_pylist(rows, schema=TO_HEAR)


def read_and_decode(rows: pa.Table, *, sample_rate_hz: int, limits: AudioLimits) -> Iterator[pa.Table]:
    """Read, hash and decode audio; what has to be refused goes on without samples.

    Parameters
    ----------
    rows : pyarrow.Table
        Of `TO_HEAR`.
    sample_rate_hz : int
        The encoder's.
    limits : AudioLimits

    Yields
    ------
    pyarrow.Table
        The same tracks in order, with float32 samples as bytes; no more of them at once than fit into memory.
    """
    heard: list[dict[str, Any]] = []
    waiting_bytes = 0
    decoding = _decoding(limits)
    for row in rows.to_pylist():
        heard.append(_hear(row, sample_rate_hz, decoding))
        waiting_bytes += len(heard[-1]["samples"] or b"")
        if waiting_bytes >= TABLE_AUDIO_BYTES:
            yield pa.Table.from_pylist(heard, schema=_DECODED)
            heard, waiting_bytes = [], 0
    if heard:
        yield pa.Table.from_pylist(heard, schema=_DECODED)


@cache
def _decoding(limits: AudioLimits) -> DecodingPool:
    """Keep one pool for all tables that this process is given: nobody tells it which is the last."""
    pool = DecodingPool(limits)
    atexit.register(pool.close)
    return pool


def _hear(row: dict[str, Any], sample_rate_hz: int, decoding: DecodingPool) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(_DECODED.names)
    found |= {"track_id": row["track_id"], "audio_uri": row["audio_uri"]}
    found |= {"duration_s": 0.0, "read_s": 0.0, "decode_s": 0.0}
    release = Release(row["track_id"], tuple(row["artist_ids"]), Path(row["audio"]), audio_uri=row["audio_uri"] or None)
    start = time.perf_counter()
    try:
        audio = read_audio(release, decoding.limits)
        found["audio_sha256"] = hashlib.sha256(audio).hexdigest()
        found["read_s"] = time.perf_counter() - start
        waveform = decoding.decode(audio, sample_rate_hz=sample_rate_hz)
    except REFUSALS as error:
        return found | {"reason": error.reason, "message": str(error)}
    finally:
        found["decode_s"] = time.perf_counter() - start - found["read_s"]
    return found | {"duration_s": waveform.duration_s, "samples": waveform.samples.tobytes()}


class Encode:
    """Encodes what was decoded; lives in a worker's process as long as the job.

    Parameters
    ----------
    encoder : str
        As `encoders.load_encoder` names it.
    device : {"auto", "cpu", "cuda"}
    encoder_id : str
        What the job expects.

    Raises
    ------
    RayError
        When this machine's encoder of that name is another one.
    """

    def __init__(self, encoder: str, device: str, encoder_id: str) -> None:
        import torch

        from encoders import load_encoder

        torch.set_num_threads(1)  # a process a core; the cores are shared out by Ray
        self._encoder: Encoder = load_encoder(encoder, device=device)
        if self._encoder.encoder_id != encoder_id:
            raise RayError(
                f"The encoder {encoder} of a worker is {self._encoder.encoder_id} where the job has {encoder_id}; "
                "install the same release and the same model on all machines."
            )

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Put content vectors in the place of samples.

        Parameters
        ----------
        rows : pyarrow.Table
            What `read_and_decode` gave.

        Returns
        -------
        pyarrow.Table
            In the same order; without a vector what has to be refused.
        """
        start = time.perf_counter()
        samples = rows["samples"].combine_chunks()
        refusals = list(zip(rows["reason"].to_pylist(), rows["message"].to_pylist(), strict=True))
        content = np.zeros((rows.num_rows, self._encoder.dim), np.float32)
        usable = np.flatnonzero(samples.is_valid()).tolist()
        waveforms = {row: np.frombuffer(samples[row].as_buffer(), np.float32) for row in usable}
        try:
            if usable:
                content[usable] = self._encoder.encode([waveforms[row] for row in usable])
        except EncoderError:
            for row in usable:  # one of them cannot be taken; each by itself, so that it spoils no other
                try:
                    content[row] = self._encoder.encode([waveforms[row]])[0]
                except EncoderError as error:
                    refusals[row] = (error.reason, str(error))
        seconds = (time.perf_counter() - start) / max(1, rows.num_rows)
        columns = {name: rows[name] for name in rows.column_names if name != "samples"}
        columns |= {
            "reason": pa.array([reason for reason, _ in refusals], pa.string()),
            "message": pa.array([message for _, message in refusals], pa.string()),
            "encode_s": pa.array([seconds] * rows.num_rows),
            "content": pa.FixedSizeListArray.from_arrays(pa.array(content.reshape(-1)), self._encoder.dim),
        }
        return pa.table(columns, schema=_encoded_schema(self._encoder.dim))


def write_part(rows: pa.Table, *, target: ContentTarget) -> pa.Table:
    """Write what was encoded as one fragment of the content table, which nobody reads before it is committed.

    Parameters
    ----------
    rows : pyarrow.Table
        What `Encode` gave.
    target : ContentTarget

    Returns
    -------
    pyarrow.Table
        One row of `PART`.
    """
    start = time.perf_counter()
    heard, refused = rows.filter(pc.is_null(rows["reason"])), rows.filter(pc.is_valid(rows["reason"]))
    lists = {"track_ids": heard["track_id"], "audio_sha256": heard["audio_sha256"], "audio_uris": heard["audio_uri"]}
    lists |= {"refused_ids": refused["track_id"], "reasons": refused["reason"], "messages": refused["message"]}
    part: dict[str, Any] = {name: column.to_pylist() for name, column in lists.items()}
    part |= {name: pc.sum(rows[name]).as_py() for name in ("duration_s", "read_s", "decode_s", "encode_s")}
    part["fragment"] = None
    if heard.num_rows:
        content = heard["content"].combine_chunks().flatten().to_numpy().reshape(heard.num_rows, target.dim)
        part["fragment"] = target.write(part["track_ids"], content)
    part["write_s"] = time.perf_counter() - start
    return pa.Table.from_pylist([part], schema=PART)
