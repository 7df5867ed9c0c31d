"""Servers to send messages to, each a process of its own: one with the tests' engine in memory, and the real one.

``python -m tests.fuzz.servers ROOT`` is the former; it prints its address and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.encoders.audio_files import sndfile, tone
from tests.fuzz.audio_cases import sources
from tests.fuzz.engine import ForgetfulEngine
from tests.fuzz.messages import Served
from tests.grpc_service.fake_engine import DIM, SPACE

ROOT = Path(__file__).resolve().parents[2]
LEAKS = ("Traceback (most recent call last)", "site-packages", str(ROOT), sys.prefix)


@dataclass(frozen=True)
class Process:
    """A server's process.

    Attributes
    ----------
    served : Served
    handle : subprocess.Popen
    """

    served: Served
    handle: subprocess.Popen[Any]

    @property
    def resident_mib(self) -> float:
        """What it holds in memory now."""
        pages = int(Path(f"/proc/{self.handle.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def described(address: str, root: Path, **fields: Any) -> Served:
    """Say what the engine in memory knows."""
    given: dict[str, Any] = {
        "track_ids": tuple(f"warm-{number}" for number in range(5)),
        "user_ids": ("ann",),
        "artist_ids": ("artist-warm-0", "artist-warm-1"),
        "space_id": SPACE,
        "dim": DIM,
        "uris": (f"{root}/a.wav", f"file://{root}/a.wav", f"{root}/../secret", f"{root}/link", "file:///dev/zero"),
        "audio": (sources()["flac"], sources()["mp3"], b"no music"),
        "leaks": LEAKS,
    }
    return Served(address, **(given | fields))


def fill(root: Path) -> None:
    """Put into an allowed root what its URIs name."""
    (root / "a.wav").write_bytes(sources()["wav"])
    (root / "link").symlink_to("/etc/hostname")


@contextmanager
def fake_server() -> Iterator[Process]:
    """Run the server with the engine in memory."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        fill(Path(folder))
        command = [sys.executable, "-m", "tests.fuzz.servers", folder]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as handle:
            assert handle.stdout is not None
            assert handle.stdin is not None
            try:
                yield Process(described(handle.stdout.readline().strip(), Path(folder)), handle)
            finally:
                handle.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    handle.wait(60)
                handle.kill()


@contextmanager
def real_server() -> Iterator[Process]:
    """Run ``anacrusis serve`` on a home in which twelve made tracks are served."""
    from anacrusis.server_process import running_server
    from jobs import Engine
    from jobs.factors import Factors
    from jobs.ingest_manifest import ingest_manifest
    from jobs.manifest import Manifest
    from jobs.spaces import import_space
    from tests.made_catalogue import ARTISTS, SPACE_ID, warm_factors, warm_releases

    releases, factors = warm_releases(), warm_factors()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        home = Path(folder, "home")
        with Engine.open(home, create=True) as engine:
            ingest_manifest(engine, Manifest(releases, list(range(1, len(releases) + 1)), []))
            import_space(engine, SPACE_ID, factors, Factors(factors.ids[:1], factors.vectors[:1]))
            engine.refresh(space_id=SPACE_ID)
        with running_server(home) as server:
            known = {
                "track_ids": tuple(release.track_id for release in releases),
                "user_ids": (str(factors.ids[0]),),
                "artist_ids": ARTISTS,
                "space_id": SPACE_ID,
                "dim": factors.vectors.shape[1],
                "audio": (
                    sndfile(tone(1.5), "WAV", "PCM_16"),
                    sndfile(tone(1.5), "MP3"),
                    sources()["flac"],
                    b"no music",
                ),
                "leaks": (*LEAKS, str(home)),
            }
            yield Process(described(server.address, Path("/nowhere"), **known), server.process)


def main() -> None:
    """Serve the engine in memory until standard input ends."""
    from grpc_service.options import ServerOptions
    from grpc_service.server import run_server

    def end_with_input() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=end_with_input, daemon=True).start()
    options = ServerOptions(port=0, allowed_roots=(Path(sys.argv[1]),), grace_s=5.0)
    run_server(ForgetfulEngine(), options, on_ready=lambda address: print(address, flush=True))


if __name__ == "__main__":
    main()
