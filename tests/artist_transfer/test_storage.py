import datetime
import hashlib
import json
import re

import numpy as np
import pytest
from safetensors.numpy import save

from artist_transfer import Catalogue, FitOptions, ModelFileError, TransferInputError, fit, load_model, save_model
from artist_transfer.storage import FORMAT_VERSION
from tests.artist_transfer.worlds import TINY_RANKING, clusters, fitted, warm

MOMENT = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


def options(method):
    return FitOptions(method=method, max_epochs=2, device="cpu", ranking=TINY_RANKING)


@pytest.fixture(scope="module")
def world():
    return clusters(artists=10, tracks_each=4)


@pytest.fixture(scope="module", params=["ranking", "acarec", "artist_mean", "carried"])
def model(request, world):
    return made_by(request.param, world)


def made_by(method, tracks):
    carried = method == "carried"
    return fitted(tracks, options("ranking" if carried else method), carried=carried)


@pytest.fixture
def folder(model, tmp_path):
    save_model(model, tmp_path / "models" / "one", created_at=MOMENT)
    return tmp_path / "models" / "one"


def edit(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(manifest))


def test_the_manifest_says_what_the_model_is(model, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("model_id", "method", "space_id", "encoder_id", "content_dim", "dim", "why", "metrics"):
        assert manifest[name] == getattr(model, name)
    assert manifest["created_at"] == "2026-01-02T03:04:05+00:00"
    assert manifest["options"]["seed"] == 0
    assert {"torch", "numpy", "safetensors", "python"} <= set(manifest["versions"])
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_what_is_loaded_answers_as_what_was_saved(model, folder, world):
    loaded = load_model(folder, device="cpu")
    assert loaded.model_id == model.model_id
    assert loaded.metrics == model.metrics
    before, after = (m.project(world.as_cold(), Catalogue(world)) for m in (model, loaded))
    np.testing.assert_array_equal(before.vectors, after.vectors)
    np.testing.assert_array_equal(before.confidence, after.confidence)
    assert before.leaned_on == after.leaned_on


def test_the_level_of_a_tiny_space_is_saved_too(tmp_path):
    tracks = warm([["a"], ["a"], ["b"]])
    model = fit(tracks)
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m")
    before, after = (m.project(tracks.as_cold(), Catalogue(tracks)) for m in (model, loaded))
    np.testing.assert_array_equal(before.vectors, after.vectors)


def test_saving_again_replaces_and_leaves_other_files_alone(model, folder, world):
    (folder / "notes.txt").write_text("mine")
    other = fit(world, FitOptions(method="artist_mean", catalogue_limit=2))
    save_model(other, folder)
    assert load_model(folder).model_id == other.model_id != model.model_id
    assert (folder / "notes.txt").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["one"]


def test_the_id_is_a_file_name_and_follows_what_rules_the_answers(model, world):
    assert re.fullmatch(r"(ranking|acarec|artist-mean|carried)-[0-9a-f]{12}", model.model_id)
    assert made_by(model.method, world).model_id == model.model_id
    moved = made_by(model.method, world.take(np.arange(39)))
    assert moved.model_id != model.model_id


def refused(folder, reason, *words):
    with pytest.raises(ModelFileError) as caught:
        load_model(folder, device="cpu")
    assert caught.value.reason == reason
    for word in words:
        assert word in str(caught.value)


def test_no_model(tmp_path):
    refused(tmp_path / "nothing", "MODEL_MISSING", "manifest.json")


def test_weights_missing(folder):
    (folder / "model.safetensors").unlink()
    refused(folder, "MODEL_MISSING", "model.safetensors")


def test_one_flipped_bit(folder):
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(folder, "MODEL_DAMAGED", "SHA-256", "expected", "found")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"format": "other"}'])
def test_a_manifest_that_is_none(folder, content):
    (folder / "manifest.json").write_bytes(content)
    refused(folder, "MODEL_DAMAGED", "manifest.json", "expected", "found")


def test_a_later_format(folder):
    edit(folder, format_version=FORMAT_VERSION + 1)
    refused(folder, "MODEL_VERSION", f"version {FORMAT_VERSION + 1}", f"reads {FORMAT_VERSION}")


@pytest.mark.parametrize(
    "changes",
    [
        {"dim": 9},
        {"content_dim": 0},
        {"method": "oracle"},
        {"method": None},
        {"space_id": "another"},
        {"encoder_id": 3},
        {"model_id": "acarec-000000000000"},
        {"options": {"seed": -1}},
        {"options": {"depth": 3}},
        {"options": []},
        {"options": {"ranking": {"members": 2}}},
        {"confidence": {"artist_transfer": [2.0] * 4, "audio_only": 0.1}},
        {"metrics": 3},
    ],
    ids=lambda changes: f"{next(iter(changes))}={next(iter(changes.values()))}",
)
def test_a_manifest_that_does_not_fit(folder, changes):
    edit(folder, **changes)
    refused(folder, "MODEL_DAMAGED", "expected", "found")


def test_weights_that_are_no_safetensors_but_hash_right(folder):
    (folder / "model.safetensors").write_bytes(b"not at all")
    edit(folder, weights_sha256=hashlib.sha256(b"not at all").hexdigest())
    refused(folder, "MODEL_DAMAGED", "safetensors")


def rewrite(folder, tensors, **ranking):
    """Weights and options that hash right but are not those of the model."""
    content = save(tensors)
    (folder / "model.safetensors").write_bytes(content)
    options = json.loads((folder / "manifest.json").read_text())["options"]
    options["ranking"] |= ranking
    edit(folder, weights_sha256=hashlib.sha256(content).hexdigest(), options=options)


def test_each_tensor_is_needed(folder, model):
    for name in model.tensors():
        rewrite(folder, {other: value for other, value in model.tensors().items() if other != name})
        refused(folder, "MODEL_DAMAGED", "expected", "found")


def test_no_tensor_of_another_shape_is_taken(folder, model):
    for name, value in model.tensors().items():
        rewrite(folder, model.tensors() | {name: np.zeros((*value.shape, 2), dtype=value.dtype)})
        refused(folder, "MODEL_DAMAGED", "expected", "found")


@pytest.mark.parametrize(
    "ranking",
    [
        {"members": 1},
        {"members": 3},
        {"members": 1.5},
        {"hidden": 9},
        {"hidden": 10**6},
        {"heads": 1},
        {"frozen": "gain"},
        {"depth": 2},
    ],
    ids=str,
)
def test_networks_of_another_kind(world, tmp_path, ranking):
    model = fit(world, options("ranking"))
    save_model(model, tmp_path / "m")
    rewrite(tmp_path / "m", model.tensors(), **ranking)
    refused(tmp_path / "m", "MODEL_DAMAGED", "expected", "found")


def test_a_device_that_is_not_here(folder, model):
    if model.method == "artist_mean":
        pytest.skip("the artist mean needs no device")
    with pytest.raises(TransferInputError) as caught:
        load_model(folder, device="cuda:99")
    assert caught.value.reason == "DEVICE_UNAVAILABLE"


def test_a_folder_that_cannot_be_written(model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelFileError) as caught:
        save_model(model, tmp_path / "file" / "model")
    assert caught.value.reason == "MODEL_NOT_WRITTEN"


def test_a_model_of_another_make(tmp_path):
    with pytest.raises(ModelFileError):
        save_model(object(), tmp_path / "m")
