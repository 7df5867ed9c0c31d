"""MusiCNN rewritten for inference: the same numbers from an eighth of the multiplications.

Two rewritings of the front end, the costly part of the network:

- ReLU and batch norm act on each channel alone, so they can follow the maximum over frequency instead of preceding it:
  with s = the sign of the norm's scale, `max_f norm(relu(x_f)) = norm(relu(s * max_f (s * x_f)))`. The sign is folded
  into the convolution.
- Regularisation has driven the kernels of many filters to zero (371 of 408 timbral filters of the MSD weights): their
  output is a constant. They are left out of the convolution and their constant is put back.

`tests/encoders/test_folding.py` holds it against the plain network.
"""

import torch
import torch.nn.functional as F  # noqa: N812  (PyTorch's customary name)
from torch import Tensor, nn

from encoders.musicnn import FrontBranch, MusiCNN

# The largest magnitude that the normalised log-mel can take: log10(10000 * power + 1) stays below 11 for a power of
# 10^7, forty decibels over a full-scale sine, and the input norm scales by less than 1.
MAX_INPUT = 12.0
# A filter counts as constant where its kernel cannot move its normalised output by more than this: float32 rounding in
# the layers above is larger.
CONSTANT_TOLERANCE = 1e-6


def norm_as_affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return scale and shift, each (channels,), of a batch norm's running statistics."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # type: ignore[operator]
    return scale, norm.bias - norm.running_mean * scale  # type: ignore[operator]


class FoldedBranch(nn.Module):
    """A `FrontBranch` in evaluation mode, rewritten.

    Input `(batch, 1, n_frames, N_MELS)`, output `(batch, filters, n_frames)`.
    """

    kernel: Tensor
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
        sign = torch.where(scale < 0, -1.0, 1.0)[live].unsqueeze(1)
        self.padding = branch.padding
        self.register_buffer("kernel", kernel[live] * sign[..., None, None])
        self.register_buffer("bias", bias[live] * sign[:, 0])
        self.register_buffer("live", live)
        self.register_buffer("sign", sign)
        self.register_buffer("scale", scale[live].unsqueeze(1))
        self.register_buffer("shift", shift[live].unsqueeze(1))
        self.register_buffer("constant", (F.relu(bias) * scale + shift).unsqueeze(1))

    def forward(self, mel: Tensor) -> Tensor:
        """Apply the branch (see the class)."""
        highest = F.conv2d(F.pad(mel, (0, 0, *self.padding)), self.kernel, self.bias).amax(dim=-1)
        live = F.relu(highest * self.sign) * self.scale + self.shift
        return self.constant.repeat(mel.shape[0], 1, mel.shape[2]).index_copy_(1, self.live, live)


def fold(model: MusiCNN) -> MusiCNN:
    """Rewrite a network for inference, in place.

    Parameters
    ----------
    model : MusiCNN
        With its final weights.

    Returns
    -------
    MusiCNN
        The same object in evaluation mode, its front-end branches replaced by `FoldedBranch`es, without gradients.
    """
    model.eval().requires_grad_(False)
    with torch.no_grad():
        model.front = nn.ModuleList(FoldedBranch(branch) for branch in model.front if isinstance(branch, FrontBranch))
    return model
