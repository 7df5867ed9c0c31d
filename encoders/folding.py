"""MusiCNN rewritten for inference: the same numbers from a tenth of the multiplications.

Four rewritings of the front end, the costly part of the network:

- ReLU and batch norm act on each channel alone, so they can follow the maximum over frequency instead of preceding it:
  with s = the sign of the norm's scale, `max_f norm(relu(x_f)) = norm(relu(s * max_f (s * x_f)))`. The sign is folded
  into the convolution.
- Regularisation has driven the kernels of many filters to zero (371 of 408 timbral filters of the MSD weights): their
  output is a constant. They are left out of the convolution and their constant is put back into the pools.
- What the first layer above makes of those constants (497 of its 561 channels) differs only where its kernel reaches
  over the ends of the window: a convolution of one channel of ones says it.
- The few filters that are left fill no vector register, so that a convolution of one channel wastes half of the
  machine. Filters at neighbouring places are columns of one matrix instead, multiplied with what they all read.

`tests/encoders/test_musicnn.py` holds it against the plain network.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's customary name)
from torch import Tensor, nn

from encoders.musicnn import FrontBranch, MidLayer, MusiCNN

# The largest magnitude that the normalised log-mel can take: log10(10000 * power + 1) stays below 11 for a power of
# 10^7, forty decibels over a full-scale sine, and the input norm scales by less than 1.
MAX_INPUT = 12.0
# A filter counts as constant where its kernel cannot move its normalised output by more than this: float32 rounding in
# the layers above is larger.
CONSTANT_TOLERANCE = 1e-6
# So many columns let a matrix product run at full speed; for their sake so much of them may be zeros, at most.
COLUMNS = 128
ZEROS_SHARE = 0.25


def norm_as_affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return scale and shift, each (channels,), of a batch norm's running statistics."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    return scale, norm.bias - norm.running_mean * scale  # type: ignore[operator]


class FoldedBranch(nn.Module):
    """The filters of a `FrontBranch` in evaluation mode that are not constant, rewritten.

    Input `(batch, n_frames, N_MELS)`, the normalised log-mel; output `(batch, live filters, n_frames)`.

    Attributes
    ----------
    live : Tensor of shape (live filters,), int64
        Which filters of the branch they are.
    constant : Tensor of shape (filters,), float32
        The output of every filter of the branch that is not among them.
    """

    filters: Tensor
    bias: Tensor
    live: Tensor
    sign: Tensor
    scale: Tensor
    shift: Tensor
    constant: Tensor

    def __init__(self, branch: FrontBranch) -> None:
        super().__init__()
        scale, shift = norm_as_affine(branch.norm)
        kernel, bias = branch.conv.weight, branch.conv.bias
        if bias is None:
            raise ValueError("the branch's convolution has no bias")
        reach = kernel.abs().sum(dim=(1, 2, 3)) * MAX_INPUT * scale.abs()
        live = torch.nonzero(reach > CONSTANT_TOLERANCE).flatten()
        sign = torch.where(scale < 0, -1.0, 1.0)[live]
        kernel = kernel[live, 0] * sign[:, None, None]
        self.padding = branch.padding
        # A kernel as high as one band slides along time, for every band; the others along the bands, for every frame.
        self.along_time = kernel.shape[2] == 1
        if self.along_time:
            kernel = kernel.transpose(1, 2)
        self.across, self.along = kernel.shape[1], kernel.shape[2]
        most = min(COLUMNS // max(1, live.numel()), int(ZEROS_SHARE * self.along))
        self.places = 1 << max(0, most.bit_length() - 1)  # powers of two: columns that fill vector registers
        self.register_buffer("filters", _side_by_side(kernel, self.places))
        self.register_buffer("bias", bias[live] * sign)
        self.register_buffer("live", live)
        self.register_buffer("sign", sign)
        self.register_buffer("scale", scale[live])
        self.register_buffer("shift", shift[live])
        self.register_buffer("constant", F.relu(bias) * scale + shift)

    def forward(self, mel: Tensor) -> Tensor:
        """Apply the branch (see the class)."""
        padded = F.pad(mel, (0, 0, *self.padding))
        highest = self._along_time(padded) if self.along_time else self._along_bands(padded, mel.shape[1])
        live = F.relu((highest + self.bias) * self.sign) * self.scale + self.shift
        return live.transpose(1, 2)

    def _along_time(self, padded: Tensor) -> Tensor:
        """Slide along the frames (batch, n_frames + kernel - 1, bands) of every band, and take the highest band."""
        batch, length, bands = padded.shape
        n_frames, live = length - self.along + 1, self.live.numel()
        blocks = -(-n_frames // self.places)
        spare = blocks * self.places - n_frames  # frames after the last: computed, and cut off
        rows = F.pad(padded, (0, 0, 0, spare)).transpose(1, 2).reshape(batch * bands, length + spare)
        read = rows.unfold(1, self.filters.shape[0], self.places).transpose(0, 1)
        product = torch.bmm(read, self.filters.expand(blocks, -1, -1))
        highest = product.view(blocks, batch, bands, self.places * live).amax(dim=2)
        return highest.transpose(0, 1).reshape(batch, blocks * self.places, live)[:, :n_frames]

    def _along_bands(self, padded: Tensor, n_frames: int) -> Tensor:
        """Slide along the bands of every frame with its neighbours, and take the highest place."""
        batch, _, bands = padded.shape
        # A row is a frame: for each band the frame's neighbours, so that what a place reads lies side by side.
        rows = padded.unfold(1, self.across, 1).reshape(batch * n_frames, bands * self.across)
        highest = product = None
        n_places = bands - self.along + 1
        # The last places overlap with those before where they must: what is highest stays so.
        for start in [*range(0, n_places - self.places, self.places), n_places - self.places]:
            read = rows[:, start * self.across : start * self.across + self.filters.shape[0]]
            product = torch.mm(read, self.filters, out=product)
            highest = product.clone() if highest is None else torch.maximum(highest, product, out=highest)
        assert highest is not None
        return highest.view(batch, n_frames, self.places, self.live.numel()).amax(dim=2)


def _side_by_side(kernel: Tensor, places: int) -> Tensor:
    """Put every filter of `kernel` (filters, across, along) at so many neighbouring places.

    Returns
    -------
    Tensor of shape ((along + places - 1) * across, places * filters)
    """
    filters, across, along = kernel.shape
    columns = kernel.new_zeros(along + places - 1, across, places, filters)
    for place in range(places):
        columns[place : place + along, :, place] = kernel.permute(2, 1, 0)
    return columns.reshape((along + places - 1) * across, places * filters)


class FoldedMusiCNN(nn.Module):
    """A `MusiCNN` in evaluation mode, rewritten for inference.

    Input and output are those of `MusiCNN.forward`.

    Parameters
    ----------
    model : MusiCNN
        With its final weights; its parts are taken over.
    """

    kernel: Tensor
    of_constants: Tensor
    live: Tensor
    constant: Tensor

    def __init__(self, model: MusiCNN) -> None:
        super().__init__()
        branches = [FoldedBranch(branch) for branch in model.front if isinstance(branch, FrontBranch)]
        first, *above = (layer for layer in model.mid if isinstance(layer, MidLayer))
        self.model = model
        self.branches, self.first, self.above = nn.ModuleList(branches), first, nn.ModuleList(above)
        begins = [0]
        for branch in branches:
            begins.append(begins[-1] + branch.constant.numel())
        live = torch.cat([branch.live + begin for branch, begin in zip(branches, begins, strict=False)])
        constant = torch.cat([branch.constant for branch in branches])
        still = constant.index_fill(0, live, 0.0)
        self.register_buffer("live", live)
        self.register_buffer("constant", constant)
        self.register_buffer("kernel", first.conv.weight[:, live])
        self.register_buffer("of_constants", torch.einsum("och,c->oh", first.conv.weight, still).unsqueeze(1))

    def forward(self, log_mel: Tensor) -> dict[str, Tensor]:
        """Return every output of the network, as `MusiCNN.forward` does."""
        mel = self.model.input_norm(log_mel.unsqueeze(1)).squeeze(1)
        front = torch.cat([branch(mel) for branch in self.branches], dim=1)
        hidden = self._first(front)
        layers = [hidden]
        for layer in self.above:
            hidden = layer(hidden) + hidden
            layers.append(hidden)
        above = torch.cat(layers, dim=1)
        max_pool = self._pool(front.amax(dim=-1), above.amax(dim=-1))
        mean_pool = self._pool(front.mean(dim=-1), above.mean(dim=-1))
        penultimate, sigmoid = self.model.head(max_pool, mean_pool)
        return {"sigmoid": sigmoid, "penultimate": penultimate, "mean_pool": mean_pool, "max_pool": max_pool}

    def _first(self, front: Tensor) -> Tensor:
        """Apply the first layer above the front end."""
        padding = self.first.conv.padding
        of_constants = F.conv1d(
            front.new_ones(1, 1, front.shape[-1]), self.of_constants, self.first.conv.bias, 1, padding
        )
        result: Tensor = self.first.norm(F.relu(F.conv1d(front, self.kernel, None, 1, padding) + of_constants))
        return result

    def _pool(self, front: Tensor, above: Tensor) -> Tensor:
        """Put the constant channels between the live ones."""
        whole = self.constant.repeat(front.shape[0], 1).index_copy_(1, self.live, front)
        return torch.cat([whole, above], dim=1)


def fold(model: MusiCNN) -> FoldedMusiCNN:
    """Rewrite a network for inference.

    Parameters
    ----------
    model : MusiCNN
        With its final weights; it is left in evaluation mode, without gradients.

    Returns
    -------
    FoldedMusiCNN
        The same outputs; it shares the layers above the front end with `model`.
    """
    model.eval().requires_grad_(False)
    with torch.no_grad():
        return FoldedMusiCNN(model).eval()
