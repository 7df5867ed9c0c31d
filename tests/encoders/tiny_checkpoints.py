"""Small random `transformers` checkpoints, written to disk the way real ones are."""

from pathlib import Path

import torch
import transformers

WAV_CONVOLUTION = {"conv_dim": (16, 16), "conv_stride": (8, 8), "conv_kernel": (16, 16), "num_feat_extract_layers": 2}
WAV_TRANSFORMER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 32,
}


def write_wav2vec2(folder: Path) -> Path:
    """The base recipe: group norm in the convolutional encoder, normalised input."""
    torch.manual_seed(1)
    config = transformers.Wav2Vec2Config(**WAV_CONVOLUTION, **WAV_TRANSFORMER, feat_extract_norm="group")
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_hubert(folder: Path) -> Path:
    """The large recipe: layer norm, stable layer norm, input as it is."""
    torch.manual_seed(2)
    config = transformers.HubertConfig(
        **WAV_CONVOLUTION, **WAV_TRANSFORMER, feat_extract_norm="layer", do_stable_layer_norm=True
    )
    transformers.HubertModel(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False, sampling_rate=24_000).save_pretrained(folder)
    return folder


def write_ast(folder: Path) -> Path:
    """As fine-tuned checkpoints are: with a classifier on top."""
    torch.manual_seed(3)
    config = transformers.ASTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_length=128,
        num_mel_bins=32,
        num_labels=3,
    )
    transformers.ASTForAudioClassification(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=128, num_mel_bins=32).save_pretrained(folder)
    return folder


def write_clap(folder: Path, *, fusion: bool = False) -> Path:
    """The whole CLAP model, text tower included."""
    torch.manual_seed(4)
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "depths": [2, 2],
        "num_attention_heads": [2, 2],
        "hidden_size": 32,
        "patch_embeds_hidden_size": 16,
        "projection_dim": 20,
        "enable_fusion": fusion,
        "fusion_type": None,
    }
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 64,
    }
    config = transformers.ClapConfig(text_config=text | {"projection_dim": 20}, audio_config=audio, projection_dim=20)
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=2,
        fft_window_size=400,
        frequency_max=8_000,
        truncation="fusion" if fusion else "rand_trunc",
    ).save_pretrained(folder)
    return folder


WRITERS = {"wav2vec2": write_wav2vec2, "hubert": write_hubert, "ast": write_ast, "clap": write_clap}
