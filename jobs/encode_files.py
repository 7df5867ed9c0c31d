"""Audio files in, a Parquet file of content vectors out; no home folder needed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders import AudioLimits, EncoderError, decode_side_by_side
from jobs.ingest import StageClock
from jobs.progress import OnProgress, Progress, silent

if TYPE_CHECKING:
    from encoders import Encoder

GROUP_FILES = 8


def check_output(out: Path) -> None:
    """Make sure that a file can be written, before the work for it is done.

    Parameters
    ----------
    out : Path
        The file; its folder is made.

    Raises
    ------
    OSError, ValueError
        When it is a folder, or the place cannot be written to.
    """
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(out))
    if out.parent.exists() and not out.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    _unfinished(out).write_bytes(b"")
    _unfinished(out).unlink()


@dataclass(frozen=True)
class RefusedFile:
    """A file that was not encoded: its path as given, a stable reason, a sentence."""

    audio: str
    reason: str
    message: str


@dataclass
class EncodeReport:
    """What became of the files.

    Attributes
    ----------
    encoded : int
    refused : list of RefusedFile
    audio_s : float
        Seconds of music heard.
    stage_s : dict of str to float
        Seconds of work in each stage.
    """

    encoded: int = 0
    refused: list[RefusedFile] = field(default_factory=list)
    audio_s: float = 0.0
    stage_s: dict[str, float] = field(default_factory=dict)


def encode_files(
    files: Sequence[Path],
    out: Path,
    *,
    encoder: Encoder,
    limits: AudioLimits,
    max_seconds: float | None = None,
    raw: bool = False,
    on_progress: OnProgress = silent,
) -> EncodeReport:
    """Encode files and write one row for each: ``audio``, ``content``, and with `raw` the encoder's own outputs.

    Parameters
    ----------
    files : sequence of Path
    out : Path
        Parquet file; its folder is made where there is none. Written at the end and in one step, so that it is
        whole or not there.
    encoder : Encoder
    limits : AudioLimits
    max_seconds : float, optional
        Hear only the first so many seconds of each file.
    raw : bool
        Whether to add a column for each of `Encoder.outputs`.
    on_progress : callable

    Returns
    -------
    EncodeReport

    Raises
    ------
    OSError, ValueError
        When `out` cannot be written; before anything is encoded.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_output(out)
    report = EncodeReport()
    clock = StageClock()
    columns: dict[str, list[Any]] = {"audio": [], "content": []}
    for start in range(0, len(files), GROUP_FILES):
        group = files[start : start + GROUP_FILES]
        heard, waveforms = [], []
        with clock.time("decode"):
            decoded = list(
                decode_side_by_side(
                    group, sample_rate_hz=encoder.sample_rate_hz, limits=limits, max_seconds=max_seconds
                )
            )
        for path, found in zip(group, decoded, strict=True):
            if isinstance(found, EncoderError):
                report.refused.append(RefusedFile(str(path), found.reason, str(found)))
                continue
            clock.hear(found.duration_s)
            heard.append(str(path))
            waveforms.append(found.samples)
        if waveforms:
            with clock.time("encode"):
                content = encoder.encode(waveforms)
                outputs = encoder.outputs(waveforms) if raw else {}
            columns["audio"] += heard
            columns["content"] += list(content)
            for name, rows in outputs.items():
                columns.setdefault(name, []).extend(rows)
        on_progress(Progress("encode", start + len(group), len(files)))
    report.encoded = len(columns["audio"])
    report.audio_s = clock.audio_s
    report.stage_s = {stage: clock.stage_s[stage] for stage in ("decode", "encode")}
    arrays = {"audio": pa.array(columns.pop("audio"), pa.string())}
    for name, vectors in columns.items():
        arrays[name] = _fixed_size_list(pa, vectors, encoder.dim)
    pq.write_table(pa.table(arrays).replace_schema_metadata({"encoder_id": encoder.encoder_id}), _unfinished(out))
    _unfinished(out).replace(out)
    return report


def _unfinished(out: Path) -> Path:
    return out.with_name(f".{os.getpid()}.unfinished")  # short: the name beside it may be as long as names get


def _fixed_size_list(pa: Any, rows: list[Any], dim: int) -> Any:
    matrix = np.stack(rows) if rows else np.empty((0, dim), np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1), pa.float32()), matrix.shape[1])
