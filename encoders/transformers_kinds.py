"""The kinds of `transformers` audio models: which class, which windows, how inputs are made and outputs pooled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float32Array = NDArray[np.float32]
Inputs = dict[str, Tensor]

KALDI_FRAME_S = 0.025  # AST's filter bank: Kaldi's frame length and shift
KALDI_SHIFT_S = 0.010


@dataclass(frozen=True)
class Kind:
    """Models that read the raw waveform; the base of the others.

    Their content vector is the mean over time of the last hidden state. Windows hold `window_s` of sound, and a shorter
    last window goes through alone and unpadded: models with a group norm in the convolutional encoder were trained
    without a mask, and zeros would change their statistics.

    Attributes
    ----------
    model_class : str
        Class of `transformers`.
    window_s : float
        Length of a window in seconds; 5 s is what MERT was trained on, and keeps attention cheap.
    """

    model_class: str
    window_s: float = 5.0

    def window_samples(self, extractor: Any) -> int:
        """Return the length of a window in samples."""
        return round(self.window_s * int(extractor.sampling_rate))

    def dim(self, config: Any) -> int:
        """Return the width of the content vector."""
        return int(config.hidden_size)

    def prepare(self, extractor: Any, windows: Sequence[Float32Array]) -> Inputs:
        """Turn windows of one length into the model's inputs.

        Parameters
        ----------
        extractor : transformers feature extractor
            Normalises each window by itself where the checkpoint says so (`do_normalize`).
        windows : sequence of ndarray of shape (n_samples,), float32

        Returns
        -------
        dict of str to Tensor
        """
        features = extractor(list(windows), sampling_rate=extractor.sampling_rate, return_tensors="np")
        return {"input_values": torch.from_numpy(np.asarray(features["input_values"], np.float32))}

    def pool(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Run the model.

        Returns
        -------
        Tensor of shape (batch, dim), float32
            One vector a window.
        """
        result: Tensor = model(**inputs).last_hidden_state.mean(dim=1)
        return result


@dataclass(frozen=True)
class SpectrogramTransformer(Kind):
    """AST: windows of as many filter-bank frames as the position embedding has (1,024: 10.24 s).

    A shorter window is filled with the extractor's own zeros up to that fixed length, as in training; its content
    vector is the `pooler_output`, what the model's classifier reads.
    """

    def window_samples(self, extractor: Any) -> int:
        """Return the samples that `max_length` frames read."""
        seconds = (int(extractor.max_length) - 1) * KALDI_SHIFT_S + KALDI_FRAME_S
        return math.ceil(seconds * int(extractor.sampling_rate))

    def pool(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the mean of the two class tokens, (batch, dim)."""
        result: Tensor = model(**inputs).pooler_output
        return result


@dataclass(frozen=True)
class Clap(Kind):
    """CLAP's audio tower with its projection: windows of `nb_max_samples` (10 s).

    A shorter window is repeated and padded by the extractor as in training ("repeatpad"). No window exceeds the natural
    length, so the extractor's random crops never happen; a fusion model gets every window as "not longer".
    """

    def window_samples(self, extractor: Any) -> int:
        """Return the extractor's longest input."""
        return int(extractor.nb_max_samples)

    def dim(self, config: Any) -> int:
        """Return the width of the joint audio and text space."""
        return int(config.projection_dim)

    def prepare(self, extractor: Any, windows: Sequence[Float32Array]) -> Inputs:
        """Return log-mel inputs; see `Kind.prepare`."""
        features = extractor(list(windows), sampling_rate=extractor.sampling_rate, return_tensors="np")
        return {
            "input_features": torch.from_numpy(np.asarray(features["input_features"], np.float32)),
            # Where no window is longer, the extractor marks one at random.
            "is_longer": torch.zeros(len(windows), 1, dtype=torch.bool),
        }

    def pool(self, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the projected audio embeddings, (batch, dim), before they are scaled to unit length."""
        result: Tensor = model(**inputs).audio_embeds
        return result


KINDS: dict[str, Kind] = {
    "wav2vec2": Kind("Wav2Vec2Model"),
    "wav2vec2-conformer": Kind("Wav2Vec2ConformerModel"),
    "hubert": Kind("HubertModel"),
    "mert_model": Kind("HubertModel"),
    "wavlm": Kind("WavLMModel"),
    "data2vec-audio": Kind("Data2VecAudioModel"),
    "unispeech": Kind("UniSpeechModel"),
    "unispeech-sat": Kind("UniSpeechSatModel"),
    "audio-spectrogram-transformer": SpectrogramTransformer("ASTModel"),
    "clap": Clap("ClapAudioModelWithProjection"),
}
