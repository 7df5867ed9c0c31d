"""What a projection read of its artists' catalogues, as a digest that its row keeps.

A projection is a function of the track's own record and feedback (`ServedVector.basis`), the model, and the catalogues
of the credited artists. The digest of the latter two is `ServedVector.catalogue_basis`: 16 hexadecimal digits for the
model, 16 for the catalogues. No vector is read for it. Within a space a warm track's collaborative vector and listens
never change, and its content is that of its audio, whose hash stands in `TrackRecord.basis`.

A catalogue's digest is the sum, modulo 2**64, of one hash a track, so that it depends on no order, and that of a track
with several artists is the sum of theirs (Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing:
Incrementality at Reduced Cost", 1997; nobody forges catalogues here, so that 64 bits serve). Everything is done in
columns: a million tracks take about a second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, partial
from operator import methodcaller

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index import Store, Tier, TrackRecord

DIGITS = 16
"""Length of each of the two parts of a catalogue basis."""

_DIGEST_BYTES = DIGITS // 2
_MASK = 2**64 - 1


def model_digest(model_id: str) -> str:
    """Give the part of a catalogue basis that names the model; 16 hexadecimal digits."""
    return hashlib.blake2b(model_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()


def catalogue_stamps(store: Store, space_id: str) -> pa.Table | None:
    """Find what changes a warm track for those who lean on it, besides its record.

    Returns
    -------
    pyarrow.Table or None
        Columns track_id and stamp, both text. Two rows lean on the same catalogue only where the stamps of its tracks
        are the same; one that is not named has the empty stamp. None: no track has any, as in every space whose
        vectors came with one training.
    """
    moved = store.moved(space_id)
    stamped = moved.filter(pc.not_equal(moved["stamp"], ""))
    return stamped.select(["track_id", "stamp"]) if stamped.num_rows else None


def catalogue_tracks(store: Store, space_id: str, encoder_id: str, *, tracks: pa.Table | None = None) -> pa.Table:
    """Read what the catalogues of a space consist of: its warm, heard tracks that are not withdrawn.

    To be called before their vectors are read. What changes in between is then in the vectors and not in the digests,
    and a later refresh sees a difference where there is one, or where there is none any more, but never overlooks any.

    Parameters
    ----------
    store : Store
    space_id, encoder_id : str
    tracks : pyarrow.Table, optional
        Columns track_id, basis and artist_ids of all tracks, where they were read already.

    Returns
    -------
    pyarrow.Table
        Columns track_id, basis, artist_ids and stamp.
    """
    if tracks is None:
        tracks = store.track_columns(["track_id", "basis", "artist_ids"])
    rows, _ = store.newest_rows(space_id, ["track_id", "tier"])
    warm = rows["track_id"].filter(pc.equal(rows["tier"], int(Tier.COLLABORATIVE)))
    found = tracks.filter(_is_any(tracks["track_id"], warm))
    found = found.filter(_is_any(found["track_id"], store.heard_ids(encoder_id)))
    found = found.filter(pc.invert(_is_any(found["track_id"], pa.array(sorted(store.withdrawn()), pa.string()))))
    return with_stamps(store, space_id, found)


def with_stamps(store: Store, space_id: str, tracks: pa.Table) -> pa.Table:
    """Append the column ``stamp`` to the tracks of catalogues, see `catalogue_stamps`."""
    stamps = catalogue_stamps(store, space_id)
    if stamps is None:
        stamp = pa.repeat(pa.scalar(""), tracks.num_rows)
    else:
        at = pc.index_in(tracks["track_id"], value_set=flat(stamps["track_id"]))
        stamp = pc.fill_null(flat(stamps["stamp"]).take(flat(at)), "")
    return tracks.append_column("stamp", stamp)


def _is_any(ids: pa.ChunkedArray, of: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    return pc.is_in(ids, value_set=flat(of))


@dataclass(frozen=True, eq=False)
class CatalogueBasis:
    """The catalogues of a space's artists as one model reads them.

    Attributes
    ----------
    model : str
        The model's part, see `model_digest`.
    artist_ids : pyarrow.Array of string, length a
        Artists with a catalogue.
    sums : ndarray of uint64, shape (a,)
        The digests of their catalogues.
    """

    model: str
    artist_ids: pa.Array
    sums: NDArray[np.uint64]

    @classmethod
    def of(cls, tracks: pa.Table, model_id: str | None, encoder_id: str) -> CatalogueBasis:
        """Digest the catalogues of a space.

        Parameters
        ----------
        tracks : pyarrow.Table
            From `catalogue_tracks`.
        model_id : str or None
            Of the fitted transfer; None for the artist mean that stands in for one: it is fitted anew on whatever is
            warm, so that every warm track is part of the model.
        encoder_id : str
        """
        text = pc.binary_join_element_wise(tracks["track_id"], tracks["basis"], tracks["stamp"], "\0")
        hashed = map(partial(hashlib.blake2b, digest_size=_DIGEST_BYTES), text.cast(pa.binary()).to_pylist())
        digests = b"".join(map(methodcaller("digest"), hashed))
        each = np.frombuffer(digests, dtype="<u8").astype(np.uint64)
        owner, artists = _credits(tracks["artist_ids"])
        coded = artists.dictionary_encode()
        sums = np.zeros(len(coded.dictionary), dtype=np.uint64)
        np.add.at(sums, coded.indices.to_numpy(), each[owner])
        named = model_id or f"artist mean of {encoder_id} on {int(each.sum(dtype=np.uint64)):016x}"
        return cls(model_digest(named), coded.dictionary, sums)

    def same(self, other: CatalogueBasis) -> bool:
        """Tell whether a model that read the one would read nothing else in the other."""
        return self.model == other.model and self._sum_of == other._sum_of

    @cached_property
    def _sum_of(self) -> dict[str, int]:
        return dict(zip(self.artist_ids.to_pylist(), self.sums.tolist(), strict=True))

    def of_record(self, record: TrackRecord) -> str:
        """Give the `ServedVector.catalogue_basis` of a track that is projected now."""
        found = sum(self._sum_of.get(artist_id, 0) for artist_id in record.artist_ids)
        return f"{self.model}{found & _MASK:016x}"

    def of_credits(self, artist_ids: pa.ChunkedArray) -> pa.Array:
        """Give the catalogues' part of the basis of many tracks.

        Parameters
        ----------
        artist_ids : pyarrow.ChunkedArray of list of string, length n

        Returns
        -------
        pyarrow.Array of string, length n
            16 hexadecimal digits each.
        """
        owner, artists = _credits(artist_ids)
        at = pc.fill_null(pc.index_in(artists, value_set=self.artist_ids), len(self.sums)).to_numpy()
        sums = np.zeros(len(artist_ids), dtype=np.uint64)
        np.add.at(sums, owner, np.append(self.sums, np.uint64(0))[at])
        return _hexadecimal(sums)

    def parts(self, catalogue_basis: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Split a column of `ServedVector.catalogue_basis` into the models' and the catalogues' parts."""
        return (
            pc.utf8_slice_codeunits(catalogue_basis, 0, DIGITS),
            pc.utf8_slice_codeunits(catalogue_basis, DIGITS, 2 * DIGITS),
        )


def credited_any(artist_ids: pa.ChunkedArray, wanted: pa.Array) -> NDArray[np.bool_]:
    """Tell which of n tracks credit one of some artists.

    Parameters
    ----------
    artist_ids : pyarrow.ChunkedArray of list of string, length n
    wanted : pyarrow.Array of string
    """
    owner, artists = _credits(artist_ids)
    found = np.zeros(len(artist_ids), dtype=np.bool_)
    found[owner[pc.is_in(artists, value_set=wanted).to_numpy(zero_copy_only=False)]] = True
    return found


def artists_of(artist_ids: pa.ChunkedArray) -> pa.Array:
    """List the artists of some tracks, each once."""
    return _credits(artist_ids)[1].unique()


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Bring a column into one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _credits(artist_ids: pa.ChunkedArray) -> tuple[NDArray[np.int64], pa.Array]:
    """Spread lists out: the position of each credit's track, and its artist."""
    lists = flat(artist_ids)
    return pc.list_parent_indices(lists).to_numpy().astype(np.int64), flat(pc.list_flatten(lists))


def _hexadecimal(values: NDArray[np.uint64]) -> pa.Array:
    text = values.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, DIGITS * (len(values) + 1), DIGITS, dtype=np.int32)
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(text))
