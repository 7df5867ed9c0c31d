"""Compares this MusiCNN with the original TensorFlow graph: `python -m encoders.parity GOLDEN.npz [--json FILE]`.

The golden file holds `waveform_16k`, the reference front end's `log_mel`, and for `MSD_musicnn` and `MTT_musicnn` the
outputs of the original graph on those patches.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.musicnn_encoder import MusicnnEncoder

MODELS = {"musicnn-msd": "MSD_musicnn", "musicnn-mtt": "MTT_musicnn"}
FEATURES = ("penultimate", "mean_pool", "max_pool")
MIN_COSINE = {"log_mel": 0.99999, "waveform_16k": 0.999}
MAX_TAG_DIFFERENCE = 1e-4  # from log_mel; a tag is a probability


@dataclass(frozen=True)
class Check:
    """One promise: `measured` has to be at least (cosines) or at most (tags) `bound`."""

    name: str
    measured: float
    bound: float
    holds: bool


def checks(golden: Path) -> list[Check]:
    """Measure the parity of both models.

    Parameters
    ----------
    golden : Path
        The file described above.

    Returns
    -------
    list of Check
        For each model and input: the lowest cosine over patches of each feature, and the largest difference of a tag.
    """
    result: list[Check] = []
    with np.load(golden, allow_pickle=False) as reference:
        for name, stored in MODELS.items():
            encoder = MusicnnEncoder(name, device="cpu")
            patches = {"log_mel": reference["log_mel"], "waveform_16k": encoder.patches(reference["waveform_16k"])}
            for source, log_mel in patches.items():
                outputs = encoder.outputs_of_patches(log_mel)
                for feature in FEATURES:
                    cosine = _lowest_cosine(outputs[feature], reference[f"{stored}/{feature}"])
                    bound = MIN_COSINE[source]
                    result.append(Check(f"{name} {source} {feature} cosine", cosine, bound, cosine >= bound))
                if source == "log_mel":
                    difference = float(np.abs(outputs["sigmoid"] - reference[f"{stored}/sigmoid"]).max())
                    holds = difference <= MAX_TAG_DIFFERENCE
                    result.append(Check(f"{name} {source} tags max_abs", difference, MAX_TAG_DIFFERENCE, holds))
    return result


def _lowest_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return float(((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0 where every promise holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m encoders.parity", description=__doc__)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--json", metavar="FILE", help="write the checks as JSON, - for standard output")
    options = parser.parse_args(arguments)
    found = checks(options.golden)
    if options.json:
        text = json.dumps({"checks": [asdict(check) for check in found]}, indent=2) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    if options.json != "-":
        for check in found:
            verdict = "ok" if check.holds else "FAILS"
            sys.stdout.write(f"{check.name:<48} {check.measured:<12.9g} bound {check.bound:<8g} {verdict}\n")
    return 0 if all(check.holds for check in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
