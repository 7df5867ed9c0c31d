"""The MusiCNN network in PyTorch.

Pons & Serra 2019, "musicnn: pre-trained convolutional neural networks for music audio tagging"; Pons et al. 2018,
"End-to-end learning for music audio tagging at scale". Batch norms use TensorFlow's epsilon, 1e-3, and the temporal
branches TensorFlow's 'same' padding, whose extra zero for an even kernel stands at the end.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's customary name)
from torch import Tensor, nn

from encoders.frontend import N_MELS

N_TAGS = 50
TIMBRAL_FILTERS = 204
TEMPORAL_FILTERS = 51
TIMBRAL_KERNELS = ((7, 38), (7, 67))  # (frames, mel bands): 0.4 and 0.7 of the 96 bands
TEMPORAL_KERNELS = ((128, 1), (64, 1), (32, 1))
FRONT_CHANNELS = len(TIMBRAL_KERNELS) * TIMBRAL_FILTERS + len(TEMPORAL_KERNELS) * TEMPORAL_FILTERS  # 561
MID_FILTERS = 64
MID_LAYERS = 3
MID_KERNEL = 7  # frames
POOL_CHANNELS = FRONT_CHANNELS + MID_LAYERS * MID_FILTERS  # 753
PENULTIMATE_UNITS = 200
BATCH_NORM_EPSILON = 1e-3

OUTPUT_WIDTHS = {
    "sigmoid": N_TAGS,
    "penultimate": PENULTIMATE_UNITS,
    "mean_pool": POOL_CHANNELS,
    "max_pool": POOL_CHANNELS,
}


def time_padding(frames: int) -> tuple[int, int]:
    """Return the zeros before and after that keep a convolution's length: for an even kernel the extra one is last."""
    return (frames - 1) // 2, frames // 2


class FrontBranch(nn.Module):
    """One front-end branch: convolution, ReLU, batch norm, maximum over all of frequency.

    Input `(batch, 1, n_frames, N_MELS)`, output `(batch, filters, n_frames)`.
    """

    def __init__(self, filters: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, filters, kernel)
        self.norm = nn.BatchNorm2d(filters, eps=BATCH_NORM_EPSILON)
        self.padding = time_padding(kernel[0])

    def forward(self, mel: Tensor) -> Tensor:
        """Apply the branch (see the class)."""
        result: Tensor = self.norm(F.relu(self.conv(F.pad(mel, (0, 0, *self.padding))))).amax(dim=-1)
        return result


class MidLayer(nn.Module):
    """One mid-end layer: a convolution over time and all channels, ReLU, batch norm.

    Input `(batch, channels, n_frames)`, output `(batch, MID_FILTERS, n_frames)`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, MID_FILTERS, MID_KERNEL, padding=MID_KERNEL // 2)
        self.norm = nn.BatchNorm1d(MID_FILTERS, eps=BATCH_NORM_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        """Apply the layer (see the class)."""
        result: Tensor = self.norm(F.relu(self.conv(features)))
        return result


class MusiCNN(nn.Module):
    """MusiCNN: log-mel patches to tags and to the features below them.

    The module tree and its `state_dict` are the shipped weights' layout.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(1, eps=BATCH_NORM_EPSILON)
        self.front = nn.ModuleList(
            [FrontBranch(TIMBRAL_FILTERS, kernel) for kernel in TIMBRAL_KERNELS]
            + [FrontBranch(TEMPORAL_FILTERS, kernel) for kernel in TEMPORAL_KERNELS]
        )
        self.mid = nn.ModuleList([MidLayer(FRONT_CHANNELS), *(MidLayer(MID_FILTERS) for _ in range(MID_LAYERS - 1))])
        self.pool_norm = nn.BatchNorm1d(2 * POOL_CHANNELS, eps=BATCH_NORM_EPSILON)
        self.penultimate = nn.Linear(2 * POOL_CHANNELS, PENULTIMATE_UNITS)
        self.penultimate_norm = nn.BatchNorm1d(PENULTIMATE_UNITS, eps=BATCH_NORM_EPSILON)
        self.tags = nn.Linear(PENULTIMATE_UNITS, N_TAGS)

    def features(self, log_mel: Tensor) -> Tensor:
        """Return the features that are pooled.

        Parameters
        ----------
        log_mel : Tensor of shape (batch, n_frames, N_MELS), float32

        Returns
        -------
        Tensor of shape (batch, POOL_CHANNELS, n_frames), float32
            Front end and the three mid-end outputs.
        """
        if log_mel.dim() != 3 or log_mel.shape[-1] != N_MELS:
            raise ValueError(f"log_mel has shape {tuple(log_mel.shape)}, expected (batch, n_frames, {N_MELS})")
        mel = self.input_norm(log_mel.unsqueeze(1))
        front = torch.cat([branch(mel) for branch in self.front], dim=1)
        layers = [front]
        hidden = self.mid[0](front)
        layers.append(hidden)
        for layer in list(self.mid)[1:]:
            hidden = layer(hidden) + hidden
            layers.append(hidden)
        return torch.cat(layers, dim=1)

    def head(self, max_pool: Tensor, mean_pool: Tensor) -> tuple[Tensor, Tensor]:
        """Return `penultimate` (batch, 200) and `sigmoid` (batch, 50) from the pools, each (batch, 753)."""
        # The reference joins the pools on a last axis of one and flattens: max and mean alternate per channel.
        pooled = torch.stack([max_pool, mean_pool], dim=-1).flatten(1)
        penultimate: Tensor = self.penultimate_norm(F.relu(self.penultimate(self.pool_norm(pooled))))
        return penultimate, torch.sigmoid(self.tags(penultimate))

    def forward(self, log_mel: Tensor) -> dict[str, Tensor]:
        """Return every output of the network.

        Parameters
        ----------
        log_mel : Tensor of shape (batch, n_frames, N_MELS), float32

        Returns
        -------
        dict of str to Tensor, float32
            `sigmoid` (batch, 50) in [0, 1], `penultimate` (batch, 200), `mean_pool` and `max_pool` (batch, 753).
        """
        features = self.features(log_mel)
        max_pool, mean_pool = features.amax(dim=-1), features.mean(dim=-1)
        penultimate, sigmoid = self.head(max_pool, mean_pool)
        return {"sigmoid": sigmoid, "penultimate": penultimate, "mean_pool": mean_pool, "max_pool": max_pool}
