"""The suite that every encoder passes: both MusiCNNs and one checkpoint of each `transformers` family."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from encoders import Encoder, InvalidOptionError, InvalidWaveformError, load_encoder
from tests.encoders.tiny_checkpoints import WRITERS

MUSICNN = ("musicnn-msd", "musicnn-mtt")
# Batching changes the order of float32 sums inside matrix products and nothing else. Relative to a vector's largest
# element: single elements may cancel to nearly zero.
RELATIVE = 1e-5


def assert_same(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    assert (np.abs(actual - expected) <= RELATIVE * scale).all(), np.abs((actual - expected) / scale).max()


@pytest.fixture(scope="module", params=[*MUSICNN, *WRITERS, "clap-fusion"])
def load(request, tmp_path_factory) -> Callable[..., Encoder]:
    name = request.param
    if name not in MUSICNN:
        folder = tmp_path_factory.mktemp("checkpoints") / name
        if name == "clap-fusion":
            WRITERS["clap"](folder, fusion=True)
        else:
            WRITERS[name](folder)
        name = f"transformers:{folder}"
    return lambda **options: load_encoder(name, **({"device": "cpu"} | options))


@pytest.fixture(scope="module")
def encoder(load) -> Encoder:
    return load(batch_windows=3)


@pytest.fixture(scope="module")
def tracks(encoder) -> list[np.ndarray]:
    """Tracks of unlike lengths: whole windows, partial windows, and less than one window."""
    rng = np.random.default_rng(7)
    result = []
    for seconds in (1.1, 6.3, 3.0, 4.2, 3.0):
        time = np.arange(round(seconds * encoder.sample_rate_hz)) / encoder.sample_rate_hz
        tone = np.sin(2 * np.pi * rng.uniform(80, 3000) * time)
        noise = rng.standard_normal(time.size)
        result.append((0.3 * tone + rng.uniform(0.01, 0.1) * noise).astype(np.float32))
    return result


@pytest.fixture(scope="module")
def vectors(encoder, tracks) -> np.ndarray:
    return encoder.encode(tracks)


def test_is_an_encoder(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.sample_rate_hz >= 8000


def test_shape_dtype_and_finite(encoder, tracks, vectors):
    assert vectors.shape == (len(tracks), encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_tells_tracks_apart(vectors):
    distances = np.abs(vectors[:, None] - vectors[None]).max(axis=-1)
    assert (distances[~np.eye(len(vectors), dtype=bool)] > 1e-4).all()


def test_batch_equals_single(encoder, tracks, vectors):
    singles = np.concatenate([encoder.encode([track]) for track in tracks])
    assert_same(singles, vectors)


def test_order_and_other_lengths_change_nothing(encoder, tracks, vectors):
    order = [3, 0, 4, 2, 1]
    longer = [np.tile(tracks[position], 2) if position == 3 else tracks[position] for position in order]
    shuffled = encoder.encode(longer)
    assert_same(shuffled[1:], vectors[order[1:]])


def test_batch_size_changes_nothing(load, tracks, vectors):
    for batch_windows in (1, 16):
        other = load(batch_windows=batch_windows).encode(tracks)
        assert_same(other, vectors)


def test_deterministic(encoder, tracks, vectors):
    np.testing.assert_array_equal(encoder.encode(tracks), vectors)


def test_id_is_file_name_safe_and_stable(load, encoder):
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", encoder.encoder_id)
    assert load().encoder_id == encoder.encoder_id


def test_empty(encoder):
    result = encoder.encode([])
    assert result.shape == (0, encoder.dim)
    assert result.dtype == np.float32


def test_outputs(encoder, tracks, vectors):
    outputs = encoder.outputs(tracks)
    assert outputs
    for name, values in outputs.items():
        assert values.dtype == np.float32, name
        assert values.ndim == 2, name
        assert len(values) == len(tracks), name
        assert np.isfinite(values).all(), name
    assert any(values.shape == vectors.shape and np.array_equal(values, vectors) for values in outputs.values())
    assert {name: values.shape[1] for name, values in encoder.outputs([]).items()} == {
        name: values.shape[1] for name, values in outputs.items()
    }


def test_does_not_change_its_input(encoder, tracks):
    copy = tracks[1].copy()
    encoder.encode([copy])
    np.testing.assert_array_equal(copy, tracks[1])


def test_digital_silence_is_finite(encoder):
    assert np.isfinite(encoder.encode([np.zeros(2 * encoder.sample_rate_hz, np.float32)])).all()


def test_a_read_only_strided_view_is_fine(encoder, tracks, vectors):
    twice = np.repeat(tracks[1], 2)
    view = twice[::2]
    view.flags.writeable = False
    assert_same(encoder.encode([view])[0], vectors[1])


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda x: np.where(np.arange(x.size) == 5, np.nan, x).astype(np.float32), "NaN"),
        (lambda x: np.where(np.arange(x.size) == 5, np.inf, x).astype(np.float32), "infinite"),
        (lambda x: x.astype(np.float64), "float64"),
        (lambda x: (x * 30000).astype(np.int16), "int16"),
        (lambda x: np.stack([x, x]), "shape"),
        (lambda x: x[:0], "0 samples"),
        (lambda x: x.tolist(), "list"),
    ],
)
def test_refuses_what_is_no_waveform(encoder, tracks, damage, word):
    for call in (encoder.encode, encoder.outputs):
        with pytest.raises(InvalidWaveformError, match=word) as caught:
            call([tracks[0], damage(tracks[1])])
        assert "waveforms[1]" in str(caught.value)
        assert caught.value.reason == "WAVEFORM_INVALID"
        assert caught.value.field == "waveforms"


def test_refuses_a_bare_array(encoder, tracks):
    with pytest.raises(InvalidWaveformError, match=r"pass \[waveform\]"):
        encoder.encode(tracks[0])


@pytest.mark.parametrize("options", [{"device": "tpu"}, {"device": "cuda:99"}, {"batch_windows": 0}])
def test_refuses_bad_options(load, options):
    with pytest.raises(InvalidOptionError) as caught:
        load(**options)
    assert caught.value.field in options
