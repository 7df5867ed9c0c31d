import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from encoders import EncoderFileError, frontend, load_encoder, musicnn_encoder, parity
from encoders.convert_musicnn import CONVOLUTIONS, DENSE, NORM_VARIABLES, NORMS, convert
from encoders.folding import CONSTANT_TOLERANCE, MAX_INPUT, FoldedMusiCNN, fold, norm_as_affine
from encoders.musicnn import OUTPUT_WIDTHS, MusiCNN, time_padding
from encoders.musicnn_encoder import WEIGHTS, WEIGHTS_FOLDER, MusicnnEncoder, load_musicnn

GOLDEN = Path(__file__).parents[1] / "golden" / "musicnn_battle_15s.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module", params=sorted(WEIGHTS))
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def plain(name) -> MusiCNN:
    return load_musicnn(name)[0]


@pytest.fixture(scope="module")
def encoder(name) -> MusicnnEncoder:
    return MusicnnEncoder(name, device="cpu")


def test_parity_with_the_original_graph(tmp_path, capsys):
    exit_code = parity.main([str(GOLDEN), "--json", str(tmp_path / "parity.json")])
    rows = json.loads((tmp_path / "parity.json").read_text())["checks"]
    assert len(rows) == 2 * (2 * 3 + 1)
    assert {row["name"]: row["measured"] for row in rows if not row["holds"]} == {}
    for row in rows:
        assert row["measured"] <= 1e-4 if row["name"].endswith("max_abs") else row["measured"] >= row["bound"]
    assert exit_code == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows)


def test_the_command_fails_where_the_outputs_differ(tmp_path, golden, capsys):
    golden = golden | {"MTT_musicnn/penultimate": -golden["MTT_musicnn/penultimate"]}
    np.savez(tmp_path / "other.npz", **golden)
    assert parity.main([str(tmp_path / "other.npz"), "--json", "-"]) == 1
    failed = [row["name"] for row in json.loads(capsys.readouterr().out)["checks"] if not row["holds"]]
    assert failed == ["musicnn-mtt log_mel penultimate cosine", "musicnn-mtt waveform_16k penultimate cosine"]


def test_the_front_end_equals_the_reference(encoder, golden):
    patches = encoder.patches(golden["waveform_16k"])
    assert patches.shape == golden["log_mel"].shape
    np.testing.assert_allclose(patches, golden["log_mel"], atol=5e-5)


def test_outputs_are_means_over_windows(encoder, golden):
    outputs = encoder.outputs([golden["waveform_16k"]])
    for key, per_patch in encoder.outputs_of_patches(encoder.patches(golden["waveform_16k"])).items():
        assert per_patch.shape == (5, OUTPUT_WIDTHS[key])
        np.testing.assert_allclose(outputs[key][0], per_patch.mean(axis=0), rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(encoder.encode([golden["waveform_16k"]]), outputs["mean_pool"])


def test_folding_changes_nothing(plain, encoder, golden):
    rng = np.random.default_rng(0)
    loud = rng.uniform(0, 9, (2, 187, 96)).astype(np.float32)
    quiet = np.zeros((1, 187, 96), np.float32)
    log_mel = np.concatenate([golden["log_mel"], loud, quiet])
    with torch.inference_mode():
        expected = {key: value.numpy() for key, value in plain(torch.from_numpy(log_mel)).items()}
    for key, found in encoder.outputs_of_patches(log_mel).items():
        scale = np.abs(expected[key]).max()
        np.testing.assert_allclose(found, expected[key], atol=2e-5 * max(1, scale))


@pytest.mark.parametrize("kept", [0, 1, 9, 136])
def test_folding_random_weights_of_either_sign(kept):
    """However many filters of a branch are left: the fewer, the more places of one are computed at once."""
    torch.manual_seed(0)
    model = MusiCNN().eval()
    for place, branch in enumerate(model.front):
        torch.nn.init.normal_(branch.norm.weight)
        torch.nn.init.normal_(branch.norm.bias)
        torch.nn.init.normal_(branch.norm.running_mean)
        constant = torch.randperm(branch.conv.weight.shape[0])[max(kept, int(place > 0)) :]
        branch.conv.weight.data[constant] = 0.0
    log_mel = torch.rand(2, 187, 96)
    with torch.inference_mode():
        expected = model(log_mel)
        folded = fold(model)
        assert isinstance(folded, FoldedMusiCNN)
        assert folded.branches[0].live.numel() == kept
        for key, found in folded(log_mel).items():
            torch.testing.assert_close(found, expected[key], atol=1e-4, rtol=1e-4)


def test_the_input_cannot_exceed_what_folding_assumes(plain):
    scale, shift = norm_as_affine(plain.input_norm)
    loudest = np.log10(1e4 * 1e7 + 1)
    assert max(abs(shift.item()), abs(loudest * scale.item() + shift.item())) <= MAX_INPUT
    assert CONSTANT_TOLERANCE < 1e-5


@pytest.mark.parametrize(("kernel", "padding"), [(7, (3, 3)), (32, (15, 16)), (64, (31, 32)), (128, (63, 64))])
def test_an_even_kernel_has_its_extra_zero_at_the_end(kernel, padding):
    assert time_padding(kernel) == padding


def test_the_shipped_weights_are_the_recorded_ones_with_their_licence(name):
    file_name, sha256 = WEIGHTS[name]
    assert hashlib.sha256((WEIGHTS_FOLDER / file_name).read_bytes()).hexdigest() == sha256
    assert "Universitat Pompeu Fabra" in (WEIGHTS_FOLDER / "LICENSE.md").read_text(encoding="utf-8")


def test_there_are_as_many_parameters_as_published(plain):
    state = {key: value for key, value in plain.state_dict().items() if "num_batches" not in key}
    assert sum(value.numel() for value in state.values()) == 792_079


def test_damaged_and_missing_weights(tmp_path, name):
    file_name, sha256 = WEIGHTS[name]
    with pytest.raises(EncoderFileError, match="cannot be read"):
        load_musicnn(name, tmp_path)
    content = bytearray((WEIGHTS_FOLDER / file_name).read_bytes())
    content[-1] ^= 1
    (tmp_path / file_name).write_bytes(content)
    with pytest.raises(EncoderFileError, match=f"expected {sha256}"):
        load_musicnn(name, tmp_path)


def test_conversion_is_the_inverse_of_tensorflows_layout(plain):
    """The shipped weights, put back under TensorFlow's names and layouts, convert to themselves."""
    state = {key: value.numpy() for key, value in plain.state_dict().items() if "num_batches" not in key}
    variables = {}
    for module, scope in CONVOLUTIONS.items():
        weight = state[f"{module}.weight"]
        mid = weight.ndim == 3
        variables[f"{scope}/kernel"] = weight.transpose(2, 1, 0)[:, :, None, :] if mid else weight.transpose(2, 3, 1, 0)
        variables[f"{scope}/bias"] = state[f"{module}.bias"]
    for module, scope in NORMS.items():
        for ours, theirs in NORM_VARIABLES.items():
            variables[f"{scope}/{theirs}"] = state[f"{module}.{ours}"]
    for module, scope in DENSE.items():
        variables[f"{scope}/kernel"] = state[f"{module}.weight"].T
        variables[f"{scope}/bias"] = state[f"{module}.bias"]
    assert variables["conv2d/kernel"].shape == (7, 38, 1, 204)
    assert variables["conv2d_5/kernel"].shape == (7, 561, 1, 64)
    converted = convert(variables)
    assert set(converted) == set(state)
    for key, value in converted.items():
        np.testing.assert_array_equal(value, state[key])
    with pytest.raises(ValueError, match="variables"):
        convert(variables | {"beta1_power": np.zeros(1, np.float32)})


def test_ids_tell_models_apart_and_cover_the_front_end(monkeypatch):
    ids = {load_encoder(each, device="cpu").encoder_id for each in WEIGHTS}
    monkeypatch.setattr(musicnn_encoder.frontend, "CONSTANTS", (*frontend.CONSTANTS, "other"))
    ids |= {load_encoder(each, device="cpu").encoder_id for each in WEIGHTS}
    assert len(ids) == 4


def test_the_ids_are_what_stored_vectors_say():
    """A changed id orphans every content vector already stored: change it only together with the vectors' meaning."""
    found = [load_encoder(each, device="cpu").encoder_id for each in sorted(WEIGHTS)]
    assert found == ["musicnn-msd-ec40407d", "musicnn-mtt-e2a2066b"]


@pytest.mark.gpu
def test_cuda_gives_the_same_vectors(name, golden):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_cpu = load_encoder(name, device="cpu").outputs([golden["waveform_16k"]])
    on_gpu = load_encoder(name, device="cuda").outputs([golden["waveform_16k"]])
    for key, value in on_gpu.items():
        np.testing.assert_allclose(value, on_cpu[key], atol=2e-4 * max(1, np.abs(on_cpu[key]).max()))
