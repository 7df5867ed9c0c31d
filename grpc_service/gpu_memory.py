"""How much memory of each GPU is taken, asked of the driver's own library (NVML).

Not of torch or FAISS: asking those would take memory of the GPU for a context, in processes that have none. What is
told is the whole GPU's, whoever has taken it. https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_memory() -> list[tuple[int, int]]:
    """Ask for the memory of all GPUs.

    Returns
    -------
    list of (int, int)
        Used and total bytes of each, in the driver's order; empty where there is no GPU, or no driver.
    """
    driver, count = _driver(), ctypes.c_uint()
    if driver is None or driver.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []
    found = []
    for number in range(count.value):
        device, memory = ctypes.c_void_p(), _Memory()
        if driver.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
            continue  # one that this process may not see
        if not driver.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)):
            found.append((memory.used, memory.total))
    return found


@cache
def _driver() -> Any:
    """Load the library once; None where there is none, or no GPU."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # no driver on this machine
        return None
    return None if library.nvmlInit_v2() else library
