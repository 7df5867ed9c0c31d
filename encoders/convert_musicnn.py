"""Converts MusiCNN's published variables to safetensors: `python -m encoders.convert_musicnn SOURCE [TARGET]`.

SOURCE holds `MSD_musicnn.npz` and `MTT_musicnn.npz`: every model variable of the checkpoints in the PyPI wheel
`musicnn` 0.1.0 under TensorFlow's own names and layouts (convolutions are H, W, in, out; dense are in, out).
"""

import argparse
import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
SOURCES = {"musicnn_msd": "MSD_musicnn.npz", "musicnn_mtt": "MTT_musicnn.npz"}

# Module of `MusiCNN` -> TensorFlow's variable scope. TensorFlow numbers scopes in the order of their creation.
CONVOLUTIONS = {f"front.{i}.conv": f"conv2d_{i}" if i else "conv2d" for i in range(5)} | {
    f"mid.{i}.conv": f"conv2d_{5 + i}" for i in range(3)
}
NORMS = (
    {"input_norm": "batch_normalization"}
    | {f"front.{i}.norm": f"batch_normalization_{1 + i}" for i in range(5)}
    | {f"mid.{i}.norm": f"batch_normalization_{6 + i}" for i in range(3)}
    | {"pool_norm": "batch_normalization_9", "penultimate_norm": "batch_normalization_10"}
)
DENSE = {"penultimate": "dense", "tags": "dense_1"}
NORM_VARIABLES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def convert(variables: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Rename and transpose TensorFlow's variables.

    Parameters
    ----------
    variables : mapping of str to ndarray, float32
        All variables of one checkpoint.

    Returns
    -------
    dict of str to ndarray, float32
        The `state_dict` of `MusiCNN`, C-contiguous.
    """
    state: dict[str, NDArray[np.float32]] = {}
    for module, scope in CONVOLUTIONS.items():
        kernel = variables[f"{scope}/kernel"]
        if module.startswith("mid."):  # (time, channels, 1, filters) -> (filters, channels, time)
            state[f"{module}.weight"] = kernel[:, :, 0, :].transpose(2, 1, 0)
        else:  # (time, frequency, 1, filters) -> (filters, 1, time, frequency)
            state[f"{module}.weight"] = kernel.transpose(3, 2, 0, 1)
        state[f"{module}.bias"] = variables[f"{scope}/bias"]
    for module, scope in NORMS.items():
        for ours, theirs in NORM_VARIABLES.items():
            state[f"{module}.{ours}"] = variables[f"{scope}/{theirs}"]
    for module, scope in DENSE.items():
        state[f"{module}.weight"] = variables[f"{scope}/kernel"].T
        state[f"{module}.bias"] = variables[f"{scope}/bias"]
    if len(state) != len(variables):
        raise ValueError(f"the checkpoint has {len(variables)} variables, expected {len(state)}")
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    from safetensors.numpy import save_file

    parser = argparse.ArgumentParser(prog="python -m encoders.convert_musicnn", description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, nargs="?", default=WEIGHTS_FOLDER)
    options = parser.parse_args(arguments)
    for name, file_name in SOURCES.items():
        with np.load(options.source / file_name, allow_pickle=False) as variables:
            state = convert(dict(variables))
        target = options.target / f"{name}.safetensors"
        save_file(state, target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        sys.stdout.write(f"{digest}  {target.name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
