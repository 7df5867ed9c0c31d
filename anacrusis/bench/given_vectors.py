"""A server that hears no music: an ingested track brings its content vector in place of samples.

All the rest is what `anacrusis serve` does: decoding (a second), projecting, the durable commit, the search.
``python -m anacrusis.bench.given_vectors HOME`` prints its address and serves until it is told to stop (SIGTERM).
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index import usable_threads
from jobs import Engine, Threads, keep_products_to_one_thread

CONTENT_DIM = 64
SAMPLE_RATE_HZ = 4_000
SAMPLES = SAMPLE_RATE_HZ  # a second: the shortest that is taken


class GivenVectors:
    """An encoder whose content vector is the first samples."""

    encoder_id = "given-vectors"
    sample_rate_hz = SAMPLE_RATE_HZ
    dim = CONTENT_DIM

    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `encoders.Encoder.encode`."""
        return np.stack([waveform[:CONTENT_DIM] for waveform in waveforms]).astype(np.float32)

    def outputs(self, waveforms: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """See `encoders.Encoder.outputs`."""
        return {"samples": self.encode(waveforms)}


def audio_of(content: NDArray[np.float32]) -> bytes:
    """Write a content vector of shape (CONTENT_DIM,), within -1 and 1, as the file that `GivenVectors` hears it in."""
    import soundfile

    samples = np.zeros(SAMPLES, dtype=np.float32)
    samples[:CONTENT_DIM] = content
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="WAV", subtype="FLOAT")
    return file.getvalue()


class GivenVectorsEngine(Engine):
    """An engine with that encoder."""

    @property
    def encoder(self) -> GivenVectors:
        """The encoder."""
        return GivenVectors()


def main() -> None:
    """Serve."""
    from grpc_service.options import ServerOptions, share_cores
    from grpc_service.server import run_server

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("home", type=Path)
    home, options = parser.parse_args().home, ServerOptions(port=0)
    keep_products_to_one_thread()  # as `anacrusis serve` does
    threads = Threads(*share_cores(options, usable_threads(), encodes=True))
    with GivenVectorsEngine.open(home, device="cpu", threads=threads) as engine:
        engine.warm_up()
        run_server(engine, options, on_ready=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main()
