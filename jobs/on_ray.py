"""Ray for one job: started here and ended again, or a cluster that somebody else keeps."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.errors import ExtraMissingError, RayError
from jobs.outcome import REFUSALS

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

# Of the object store of a Ray that is started here: waveforms on their way from decoding to an encoder on a GPU.
MAX_OBJECT_STORE_BYTES = 4 << 30
MIN_OBJECT_STORE_BYTES = 256 << 20
OBJECT_STORE_SHARE = 8  # ... and at most one part in so many of this machine's memory
REACH_TIMEOUT_S = 10.0  # Ray itself would try for two minutes, and then end the process


@dataclass(frozen=True)
class RayOptions:
    """Where a job runs.

    Attributes
    ----------
    address : str
        HOST:PORT of a cluster's head; empty starts a Ray on this machine that ends with the job.
    workers : int
        Processes that hold a network; 0 for one a GPU, or one a CPU core where there is no GPU.

    Raises
    ------
    RayError
        When the address is none, or `workers` is below 0.
    """

    address: str = ""
    workers: int = 0

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise RayError(
                f"{self.address!r} is no address of a Ray cluster; write HOST:PORT, as `ray start` shows it."
            )
        if self.workers < 0:
            raise RayError(f"{self.workers} workers are asked for; 0 lets the machines decide, or give at least 1.")


@dataclass(frozen=True)
class Cluster:
    """What a job may use.

    Attributes
    ----------
    workers : int
        Processes that hold a network.
    gpus_each : int
        GPUs of each of them: 1, or 0 where there are none or the job is not to use them.
    """

    workers: int
    gpus_each: int

    def actors(self) -> dict[str, Any]:
        """Give what Ray Data's ``map_batches`` needs to know to run a class in these processes."""
        from ray.data import ActorPoolStrategy

        # A process beside a GPU mostly waits for it: the CPU cores are left to decoding.
        cpus = {"num_gpus": self.gpus_each, "num_cpus": 0} if self.gpus_each else {"num_cpus": 1}
        return {"compute": ActorPoolStrategy(size=self.workers), **cpus}


@contextmanager
def ray_cluster(options: RayOptions, *, device: str) -> Iterator[Cluster]:
    """Start Ray on this machine, or connect to a cluster; leave nothing behind.

    Parameters
    ----------
    options : RayOptions
    device : {"auto", "cpu", "cuda"}
        ``cpu`` leaves GPUs alone.

    Yields
    ------
    Cluster

    Raises
    ------
    ExtraMissingError
        When Ray is not installed.
    RayError
        When Ray runs in this process already, or the cluster cannot be reached or has no GPU where one is asked for.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraMissingError(f"Ray is not installed ({error}); run: pip install 'anacrusis[ray]'") from error
    if ray.is_initialized():
        raise RayError("This process runs Ray already; run the job in a process of its own.")
    folder = ""
    try:
        if options.address:
            _check_reachable(options.address)
            ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR)
        else:
            folder = tempfile.mkdtemp(prefix="ray-")
            _start(folder)
        _quiet_data()
        yield _found(options, ray.cluster_resources(), device)
    except (ConnectionError, TimeoutError) as error:
        raise RayError(f"Ray cannot be used at {options.address or 'this machine'}: {_line(error)}.") from error
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)  # its logs and sockets; the processes have ended


def results(dataset: Dataset) -> Iterator[pa.Table]:
    """Run a pipeline and give its blocks as they come, in whatever order.

    Raises
    ------
    Exception
        What a worker raised, where it is one of the errors that a caller can cause.
    RayError
        When a worker was lost for good.
    """
    from ray.exceptions import RayError as RaysError

    try:
        yield from dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    except RaysError as error:
        ours = _raised_by_a_worker(error)
        if isinstance(ours, REFUSALS):
            raise ours from None
        if ours is not None:
            raise
        raise RayError(
            f"Ray lost a worker ({_line(error)}); check its machine's memory and run the same again."
        ) from error


def _raised_by_a_worker(error: BaseException) -> BaseException | None:
    """Find what our own code raised in a worker: at a task, or when it was started."""
    from ray.exceptions import RayTaskError

    for one in (error, *error.args[:1]):
        if isinstance(one, RayTaskError):
            return one.cause if isinstance(one.cause, BaseException) else one
    return None


def _start(folder: str) -> None:
    """Start Ray on this machine, bounded, its files in a folder of their own."""
    import ray

    with warnings.catch_warnings():
        # Lance warns of every fork; Ray's programs are executed right after it.
        warnings.filterwarnings("ignore", message="lance is not fork-safe")
        ray.init(
            address="local",  # or RAY_ADDRESS in the environment would lead elsewhere
            num_cpus=len(os.sched_getaffinity(0)),
            object_store_memory=_object_store_bytes(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=folder,
        )


def _quiet_data() -> None:
    """Keep Ray Data from telling its plans, and from drawing bars of its own."""
    from ray.data import DataContext

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what goes wrong is raised as well
    with warnings.catch_warnings():
        # It warns of options that nobody has set: its own defaults.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        DataContext.get_current().enable_progress_bars = False


def _found(options: RayOptions, resources: dict[str, float], device: str) -> Cluster:
    gpus = int(resources.get("GPU", 0)) if device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise RayError("The device is cuda and Ray finds no GPU; set the device to auto or cpu, or give a cluster.")
    most = gpus or max(1, int(resources.get("CPU", 1)))
    if options.workers > most:
        raise RayError(
            f"{options.workers} workers are asked for where Ray finds {most} {'GPUs' if gpus else 'CPU cores'}; "
            "they would wait for each other for ever."
        )
    return Cluster(workers=options.workers or most, gpus_each=int(gpus > 0))


def _check_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_TIMEOUT_S).close()
    except OSError as error:
        raise RayError(
            f"No Ray cluster can be reached at {address} ({error.strerror or error}); is its head running there?"
        ) from None


def _object_store_bytes() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(MIN_OBJECT_STORE_BYTES, min(MAX_OBJECT_STORE_BYTES, memory // OBJECT_STORE_SHARE))


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
