import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from encoders import EncoderFileError, UnknownEncoderError, load_encoder
from tests.encoders.tiny_checkpoints import WRITERS, write_ast, write_clap, write_hubert, write_wav2vec2


def load(folder):
    return load_encoder(f"transformers:{folder}", device="cpu")


def noise(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_wav2vec2_equals_the_library(tmp_path):
    encoder = load(write_wav2vec2(tmp_path / "w"))
    waveform = noise(4.0)
    model = transformers.Wav2Vec2Model.from_pretrained(tmp_path / "w").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "w")
    with torch.inference_mode():
        hidden = model(**extractor(waveform, sampling_rate=16_000, return_tensors="pt")).last_hidden_state
    assert encoder.dim == 24
    np.testing.assert_allclose(encoder.encode([waveform])[0], hidden[0].mean(dim=0).numpy(), atol=1e-5)


def test_do_normalize_is_respected(tmp_path):
    """Layer norms hide a level from the output, so the input is looked at."""
    windows = [noise(2.0, seed=1) + 0.2, 0.01 * noise(2.0, seed=2)]

    def levels(encoder):
        inputs = encoder._kind.prepare(encoder._extractor, windows)["input_values"]
        return inputs.mean(dim=1), inputs.std(dim=1)

    normalised = load(write_wav2vec2(tmp_path / "w"))
    mean, std = levels(normalised)
    torch.testing.assert_close(mean, torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones(2), atol=0.1, rtol=0)
    path = tmp_path / "w" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_normalize": False}))
    plain = load(tmp_path / "w")
    mean, std = levels(plain)
    torch.testing.assert_close(mean, torch.tensor([0.2, 0.0]), atol=1e-2, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.1, 0.001]), atol=1e-2, rtol=0)
    assert plain.encoder_id != normalised.encoder_id


def test_windows_are_weighted_by_their_length(tmp_path):
    encoder = load(write_wav2vec2(tmp_path / "w"))
    waveform = noise(13.5)  # 5 + 5 + 3.5
    parts = [waveform[:80_000], waveform[80_000:160_000], waveform[160_000:]]
    expected = np.average(encoder.encode(parts), axis=0, weights=[5, 5, 3.5])
    np.testing.assert_allclose(encoder.encode([waveform])[0], expected, atol=1e-6)
    np.testing.assert_allclose(  # a tail below a second is dropped
        encoder.encode([waveform[: 160_000 + 15_999]]), encoder.encode([waveform[:160_000]]), atol=1e-6
    )


def test_ast_equals_the_library(tmp_path):
    encoder = load(write_ast(tmp_path / "a"))
    waveform = noise(1.2)
    model = transformers.ASTModel.from_pretrained(tmp_path / "a").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "a")
    with torch.inference_mode():
        pooled = model(**extractor(waveform, sampling_rate=16_000, return_tensors="pt")).pooler_output
    np.testing.assert_allclose(encoder.encode([waveform]), pooled.numpy(), atol=1e-5)


@pytest.mark.parametrize("fusion", [False, True])
def test_clap_equals_the_library(tmp_path, fusion):
    encoder = load(write_clap(tmp_path / "c", fusion=fusion))
    waveform = noise(2.0)
    model = transformers.ClapModel.from_pretrained(tmp_path / "c").eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "c")
    inputs = extractor(waveform, sampling_rate=16_000, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)
    with torch.inference_mode():
        unit = model.get_audio_features(**inputs).pooler_output[0].numpy()
    assert encoder.dim == 20
    found = encoder.encode([waveform])[0]
    np.testing.assert_allclose(found / np.linalg.norm(found), unit, atol=1e-5)


def test_the_sample_rate_is_the_extractors(tmp_path):
    assert load(write_hubert(tmp_path / "h")).sample_rate_hz == 24_000


def test_the_id_follows_the_weights_not_the_place(tmp_path):
    folder = write_wav2vec2(tmp_path / "one" / "model")
    first = load(folder).encoder_id
    shutil.copytree(folder, tmp_path / "two" / "model")
    assert load(tmp_path / "two" / "model").encoder_id == first
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder).encoder_id != first


def test_mert_without_additions_is_hubert(tmp_path):
    hubert = load(write_hubert(tmp_path / "h"))
    shutil.copytree(tmp_path / "h", tmp_path / "mert")
    mert = {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoModel": "modeling_MERT.MERTModel"},
    }
    edit_config(tmp_path / "mert", **mert, feature_extractor_cqt=False, deepnorm=False, attention_relax=-1.0)
    waveform = noise(2.0, 24_000)
    np.testing.assert_array_equal(load(tmp_path / "mert").encode([waveform]), hubert.encode([waveform]))


@pytest.mark.parametrize("addition", [{"feature_extractor_cqt": True}, {"deepnorm": True}, {"attention_relax": 32.0}])
def test_mert_with_additions_is_refused(tmp_path, addition):
    write_hubert(tmp_path / "mert")
    edit_config(tmp_path / "mert", model_type="mert_model", **addition)
    with pytest.raises(EncoderFileError, match=next(iter(addition))):
        load(tmp_path / "mert")


def test_an_unsupported_type_is_refused_with_the_list(tmp_path):
    write_hubert(tmp_path / "x")
    edit_config(tmp_path / "x", model_type="bert")
    with pytest.raises(EncoderFileError, match=r"'bert'.*audio-spectrogram-transformer, clap.*wav2vec2"):
        load(tmp_path / "x")


def test_missing_pieces_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderFileError, match=r"config\.json"):
        load(tmp_path / "empty")
    folder = write_wav2vec2(tmp_path / "w")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(EncoderFileError, match=r"preprocessor_config\.json"):
        load(folder)


def test_weights_have_to_be_safetensors(tmp_path):
    folder = write_wav2vec2(tmp_path / "w")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EncoderFileError, match="safetensors"):
        load(folder)


@pytest.mark.parametrize("name", WRITERS)
def test_damaged_weights_are_refused(tmp_path, name):
    folder = WRITERS[name](tmp_path / name)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EncoderFileError, match="weights"):
        load(folder)


def test_incomplete_weights_are_refused_not_made_up(tmp_path):
    folder = write_wav2vec2(tmp_path / "w")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layers.1.attention.k_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderFileError, match=r"encoder\.layers\.1\.attention\.k_proj\.weight"):
        load(folder)


@pytest.mark.parametrize("name", ["", "musicnn", "MUSICNN-MSD", "transformers:", "transformers"])
def test_unknown_names_are_refused_with_the_list(name):
    with pytest.raises(UnknownEncoderError, match="musicnn-msd, musicnn-mtt, transformers:") as caught:
        load_encoder(name)
    assert caught.value.reason == "ENCODER_UNKNOWN"
