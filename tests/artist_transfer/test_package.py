import subprocess
import sys

import artist_transfer


def test_the_public_list():
    assert sorted(artist_transfer.__all__, key=str.casefold) == sorted(set(artist_transfer.__all__), key=str.casefold)
    for name in artist_transfer.__all__:
        assert getattr(artist_transfer, name).__doc__ or name.isupper()


def test_the_artist_mean_never_loads_torch():
    """Importing the package, and projecting with the fallback of a small space, stays light."""
    code = """
import sys, numpy as np, artist_transfer as at
rng = np.random.default_rng(0)
tracks = at.WarmTracks("s", "e", [f"t{i}" for i in range(30)], rng.normal(size=(30, 3)), rng.normal(size=(30, 4)),
                       at.Credits.from_lists([["a"]] * 30), np.zeros(30, dtype=np.int32))
at.fit(tracks, at.FitOptions(method="artist_mean")).project(tracks.as_cold(), at.Catalogue(tracks))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_error_carries_reason_and_field():
    for name in ("TransferInputError", "NotEnoughTracksError", "ModelFileError"):
        error = getattr(artist_transfer, name)("Say it.", reason="WHY", field="where")
        assert (str(error), error.reason, error.field) == ("Say it.", "WHY", "where")
        assert isinstance(error, artist_transfer.TransferError)
