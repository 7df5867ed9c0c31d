"""Content vectors of a whole catalogue: written by many processes, noted as they come, taken in at once."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from index.content import ContentTables
from index.fragments import (
    ContentTarget,
    HeardPart,
    append_fragments,
    drop_twins,
    fragment_file,
    replace_vectors,
)
from index.layout import Home
from index.schemas import key_field
from index.tables import Table

_log = logging.getLogger(__name__)

_LISTS = ("track_ids", "audio_sha256", "audio_uris")
_PARTS = pa.schema(
    [
        key_field("part_id"),
        pa.field("fragment", pa.string()),
        *(pa.field(name, pa.list_(pa.string())) for name in _LISTS),
    ]
)


class ContentBackfill:
    """The content vectors that a backfill brings to one encoder's table. One at a time on one home.

    Parameters
    ----------
    home : Home
    content : ContentTables
    encoder_id : str
    dim : int
        Length of the vectors.

    Attributes
    ----------
    target : ContentTarget
        What the writing processes need to know; it travels to other machines.

    Raises
    ------
    InvalidVectorError
        The home holds vectors of this encoder of another length.
    """

    def __init__(self, home: Home, content: ContentTables, encoder_id: str, dim: int) -> None:
        self._home = home
        self._table = content.create(encoder_id, dim)
        # Other processes have another working directory.
        address = self._table.address if home.local is None else str(Path(self._table.address).absolute())
        self.target = ContentTarget(address, encoder_id, dim)
        self._address = home.staged(encoder_id)
        self._name = f"staged/{encoder_id}"
        self._went_on = self._home.exists(self._address)
        self._notes = Table(self._address, self._name, "part_id") if self._went_on else None
        self._began = self._table.version
        self._since = self._version = 0

    def noted(self) -> list[HeardPart]:
        """Give the parts that were written and not taken in, and are still there; others have to be heard again."""
        if self._notes is None:
            return []
        rows = self._notes.read(columns=["fragment", *_LISTS]).to_pylist()
        return self.still_there([HeardPart(row["fragment"], *(tuple(row[name]) for name in _LISTS)) for row in rows])

    def still_there(self, parts: Sequence[HeardPart]) -> list[HeardPart]:
        """Give the parts whose fragments nobody has deleted, as Lance's clean-up does after a week."""
        there = [part for part in parts if self.target.holds(part)]
        if len(there) < len(parts):
            _log.warning("%d parts of a backfill are gone and have to be heard again", len(parts) - len(there))
        return there

    def heard_meanwhile(self, track_ids: Collection[str]) -> set[str]:
        """Give those of some tracks whose content vectors somebody has written since this object was made."""
        found = self._table.read(columns=[self._table.key], keys=list(track_ids), since=self._began)
        return set(found[self._table.key].to_pylist())

    def note(self, part: HeardPart) -> None:
        """Keep a part, durably: it need not be heard again."""
        if self._notes is None:
            self._notes = Table.create(self._address, self._name, "part_id", _PARTS.empty_table())
        lists = {name: getattr(part, name) for name in _LISTS}
        row = {"part_id": fragment_file(part.fragment), "fragment": part.fragment, **lists}
        self._notes.upsert(pa.Table.from_pylist([row], schema=_PARTS))
        self._notes.compact_if_due()  # or every note would open all the notes before it

    def take_in(self, wanted_of: Mapping[HeardPart, Collection[str]], replacing: Collection[str] = ()) -> None:
        """Take parts into the table: one commit, no track twice.

        Parameters
        ----------
        wanted_of : mapping of HeardPart to collection of str
            Parts that are `still_there`, and which of the tracks of each are wanted; not those that were heard by
            somebody else meanwhile, which stay as they are.
        replacing : collection of str
            Of them, tracks whose vector in the table is nobody's: it was left by an ingest, or a backfill, that ended
            before it added the track.
        """
        for part, some in wanted_of.items():
            replaced = replace_vectors(self._table, part, {one for one in some if one in replacing})
            if replaced:
                _log.info("%d content vectors without a track were replaced", replaced)
        before, self._version = append_fragments(self._table, wanted_of)
        # What was noted by a job that was killed may have been committed by it, at a version that nobody remembers.
        self._since = 0 if self._went_on else before
        self.drop_twins()

    def drop_twins(self) -> int:
        """Leave one vector of each track that somebody else heard at the same moment: theirs. Gives their number.

        A writer that began before the commit may end after it: to be called once more when time has passed.
        """
        return drop_twins(self._table, self._since, self._version)

    def finish(self) -> None:
        """Forget the notes, merge small fragments, and index the keys."""
        self._home.discard(self._address)
        self._notes = None
        self._table.compact()
