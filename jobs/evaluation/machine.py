"""What an evaluation ran on, as far as its figures and times depend on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

LIBRARIES = ("torch", "numpy", "pyarrow")


def machine() -> dict[str, Any]:
    """Describe this machine without naming it.

    Returns
    -------
    dict
        ``device`` (the GPU's name, or "CPU"), ``cpus`` (that this process may use), ``threads`` (of torch),
        ``system``, ``python`` and ``libraries`` (versions by name).
    """
    import torch

    return {
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
