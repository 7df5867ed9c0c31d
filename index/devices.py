"""Which GPUs there are, and the one thread that makes each one's calls."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import faiss
import numpy as np

from index.errors import DeviceUnavailableError, InvalidQueryError
from index.types import Float32Array


def shrunk(queries: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Bring queries to at most 1 by powers of two, and give those: a GPU rounds them to float16, and none overflows."""
    largest = np.maximum(np.abs(queries).max(axis=1, keepdims=True), np.float32(1e-30))
    shrink = np.exp2(-np.ceil(np.log2(largest))).astype(np.float32)
    return queries * shrink, shrink


def reset_on(owner: ThreadPoolExecutor, index: Any) -> None:
    """Give the memory of a GPU's index back, by the thread that owns the GPU."""
    owner.submit(index.reset).result()


_gpus: dict[int, tuple[ThreadPoolExecutor, Any]] = {}
_gpus_lock = threading.Lock()


def gpu_resources(number: int) -> tuple[ThreadPoolExecutor, Any]:
    """Give the one thread that makes a GPU's calls, and FAISS's resources on it."""
    # One a GPU and process, also while two snapshots overlap: the resources are not thread-safe, so that one thread
    # makes every call that uses them; and they take 0.1 s to make and 1.5 GiB of scratch memory each.
    with _gpus_lock:
        if number not in _gpus:
            owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"index-gpu-{number}")
            _gpus[number] = owner, owner.submit(faiss.StandardGpuResources).result()
        return _gpus[number]


def gpu_count() -> int:
    """Count the GPUs that FAISS sees."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0


def choose_device(device: str) -> Literal["cpu", "gpu"]:
    """Turn "auto" into what is there.

    Raises
    ------
    DeviceUnavailableError
        A GPU was asked for and none is there.
    InvalidQueryError
        It is no device.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise InvalidQueryError(f"device {device!r} is unknown: use auto, cpu or gpu", field="device")
    if device == "gpu" and gpu_count() == 0:
        raise DeviceUnavailableError(
            "device gpu was asked for but FAISS sees none: check the driver, or use device auto or cpu", field="device"
        )
    return "gpu" if device == "gpu" or (device == "auto" and gpu_count() > 0) else "cpu"
