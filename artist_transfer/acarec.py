"""The trained network as a transfer model."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from artist_transfer.audio_only import AudioOnly
from artist_transfer.catalogue import Catalogue, CatalogueRows
from artist_transfer.credits import IntArray
from artist_transfer.errors import TransferInputError
from artist_transfer.model import FittedModel, ModelFacts
from artist_transfer.network import ACARec
from artist_transfer.scaling import Scaling
from artist_transfer.types import ColdTracks, FloatArray

# Attention scores (targets x heads x width x width) held at once: 64 MiB as float32.
_SCORES = 2**24


def resolve_device(device: str) -> torch.device:
    """Find the device to compute on.

    Parameters
    ----------
    device : str
        "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".

    Raises
    ------
    TransferInputError
        ``DEVICE_UNAVAILABLE``.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if (
        found is None
        or found.type not in ("cpu", "cuda")
        or (found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count())
    ):
        raise TransferInputError(
            f"The device {device!r} is not here; use auto or cpu.",
            reason="DEVICE_UNAVAILABLE",
            field="device",
        )
    return found


class NetworkReader:
    """Runs the network over catalogues, in blocks of like size and bounded work.

    Parameters
    ----------
    network : ACARec
        In evaluation or training mode; no gradient is kept.
    scaling : Scaling
        Of the network's training tracks.
    """

    def __init__(self, network: ACARec, scaling: Scaling) -> None:
        self.network = network
        self.scaling = scaling

    def read(
        self,
        content: FloatArray,
        selected: CatalogueRows,
        warm_content: FloatArray,
        warm_collaborative: FloatArray,
        batch_size: int,
    ) -> tuple[FloatArray, FloatArray]:
        """Project targets that all have a catalogue.

        Parameters
        ----------
        content : ndarray, shape (m, content_dim), float32
            Content of the targets, as the encoder gives it.
        selected : CatalogueRows
            Their catalogues, none empty.
        warm_content : ndarray, shape (n, content_dim), float32
        warm_collaborative : ndarray, shape (n, dim), float32
            Of the warm tracks, in the encoder's and the space's own scale.
        batch_size : int
            Targets to work on at once, at most.

        Returns
        -------
        vectors : ndarray, shape (m, dim), float32
            In the space's own scale.
        weights : ndarray, shape (nnz,), float32
            Cross-attention weights, mean over heads.
        """
        vectors = np.empty((content.shape[0], self.network.dim), dtype=np.float32)
        weights = np.empty(selected.rows.size, dtype=np.float32)
        device = next(self.network.parameters()).device
        for block in self._blocks(selected.sizes, batch_size):
            batch = selected.padded(block)
            used, inverse = np.unique(batch.rows[batch.mask], return_inverse=True)
            # Each catalogue track is described once, however many targets of the block lean on it. Padding reads
            # the first of them.
            place = np.zeros(batch.rows.shape, dtype=np.int64)
            place[batch.mask] = inverse
            with torch.inference_mode():
                catalogue_content = torch.from_numpy(self.scaling.content(warm_content[used])).to(device)
                collaborative = torch.from_numpy(warm_collaborative[used] / self.scaling.space_scale).to(device)
                query, key, value = self.network.describe(torch.cat([catalogue_content, collaborative], dim=1))
                at: Tensor = torch.from_numpy(place).to(device)
                projected, attention = self.network(
                    torch.from_numpy(self.scaling.content(content[block])).to(device),
                    (query[at], key[at], value[at]),
                    collaborative[at],
                    torch.from_numpy(batch.mask).to(device),
                )
                vectors[block] = (projected * self.scaling.space_scale).cpu().numpy()
                flat = attention.cpu().numpy()[batch.mask]
            weights[_places(selected, block)] = flat
        return vectors, weights

    def _blocks(self, sizes: IntArray, batch_size: int) -> list[IntArray]:
        """Targets of like catalogue size, so that padding and attention scores stay small."""
        order = np.argsort(-sizes, kind="stable").astype(np.int64)
        heads = self.network.self_attention.heads
        blocks, begin = [], 0
        while begin < order.size:
            widest = int(sizes[order[begin]])
            count = max(1, min(batch_size, _SCORES // (heads * widest * widest)))
            blocks.append(order[begin : begin + count])
            begin += count
        return blocks


def _places(selected: CatalogueRows, targets: IntArray) -> IntArray:
    """Where the catalogues of `targets` stand among all rows, one behind the other."""
    counts = selected.sizes[targets]
    before = np.cumsum(counts) - counts
    places: IntArray = np.arange(counts.sum()) + np.repeat(selected.indptr[:-1][targets] - before, counts)
    return places


class AcarecModel(FittedModel):
    """Reads a catalogue with the ACARec network.

    Parameters
    ----------
    facts : ModelFacts
        What the model says about itself.
    audio_only : AudioOnly
        For targets without a catalogue.
    network : ACARec
        Trained; moved to `device`.
    scaling : Scaling
        Of the training tracks.
    device : str
        Where to compute, see `resolve_device`.
    """

    def __init__(
        self,
        facts: ModelFacts,
        audio_only: AudioOnly,
        network: ACARec,
        scaling: Scaling,
        *,
        device: str = "auto",
    ) -> None:
        super().__init__(facts, audio_only)
        self._reader = NetworkReader(network.to(resolve_device(device)).eval(), scaling)

    @classmethod
    def from_tensors(
        cls,
        facts: ModelFacts,
        audio_only: AudioOnly,
        tensors: dict[str, npt.NDArray[np.generic]],
        *,
        device: str = "auto",
    ) -> "AcarecModel":
        """Rebuild the model; raises KeyError, ValueError or RuntimeError where `tensors` do not fit."""
        network = ACARec(facts.content_dim, facts.dim)
        prefix = "network."
        state = {
            name.removeprefix(prefix): torch.from_numpy(np.array(value))
            for name, value in tensors.items()
            if name.startswith(prefix)
        }
        network.load_state_dict(state)
        scaling = Scaling(
            content_mean=np.array(tensors["scaling.content_mean"], dtype=np.float32).reshape(facts.content_dim),
            content_spread=np.array(tensors["scaling.content_spread"], dtype=np.float32).reshape(facts.content_dim),
            space_scale=float(tensors["scaling.space_scale"].reshape(())),
        )
        return cls(facts, audio_only, network, scaling, device=device)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """All weights by name, as they are saved."""
        state = self._reader.network.state_dict()
        scaling = self._reader.scaling
        return {
            **super().tensors(),
            **{f"network.{name}": value.detach().cpu().numpy() for name, value in state.items()},
            "scaling.content_mean": scaling.content_mean,
            "scaling.content_spread": scaling.content_spread,
            "scaling.space_scale": np.asarray([scaling.space_scale], dtype=np.float64),
        }

    def read_catalogues(
        self, targets: ColdTracks, selected: CatalogueRows, catalogue: Catalogue, batch_size: int
    ) -> tuple[FloatArray, FloatArray]:
        """See `FittedModel.read_catalogues`."""
        warm = catalogue.tracks
        return self._reader.read(targets.content, selected, warm.content, warm.collaborative, batch_size)
