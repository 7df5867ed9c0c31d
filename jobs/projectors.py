"""The projector of the space that is being served, kept for as long as it is what would be built now."""

from __future__ import annotations

import threading

from index import Home, Store
from jobs.projector import Projector, build_projector
from jobs.warming import Warming


class Projectors:
    """Keeps the projector of the space that is being served.

    Parameters
    ----------
    store : Store
    home : Home
    device : {"auto", "cpu", "cuda"}

    Notes
    -----
    Building reads the whole catalogue. Whether it has to be built anew is looked at when a snapshot was published (a
    new training, a new fit), when a warm track was heard, changed or withdrawn, or when another process wrote to the
    home folder, and then only once a cold track needs it: where the model is still the newest and the catalogues have
    the digests that they had, the projector stays.
    """

    def __init__(self, store: Store, home: Home, *, device: str) -> None:
        self._store = store
        self._home = home
        self._device = device
        self._lock = threading.Lock()
        self._key: tuple[str, str] | None = None
        self._projector: Projector | None = None
        self._sure = False  # that it is what would be built now
        self._warming: tuple[str, Warming] | None = None  # outlives projectors: what it measured never changes
        self._withdrawn: frozenset[str] = frozenset()

    def get(self, space_id: str, encoder_id: str) -> Projector | None:
        """Return the projector of a space, built at the first call.

        Parameters
        ----------
        space_id, encoder_id : str

        Returns
        -------
        Projector or None
            None when the space has no warm track that was heard by this encoder.
        """
        with self._lock:
            withdrawn = self._store.withdrawn()
            newly = withdrawn - self._withdrawn
            same_space = self._key == (space_id, encoder_id)
            if not same_space:
                self._taken()
            if not same_space or not self._sure or (self._projector and self._projector.reads(newly)):
                if self._warming is None or self._warming[0] != space_id:
                    self._warming = space_id, Warming(self._store, space_id)
                self._projector = build_projector(
                    self._store,
                    self._home,
                    space_id,
                    encoder_id,
                    device=self._device,
                    warming=self._warming[1],
                    known=self._taken() if same_space else None,
                )
                self._key, self._sure = (space_id, encoder_id), True
            self._withdrawn = withdrawn
            return self._projector

    def forget(self) -> None:
        """Look at the next call whether catalogue or model have changed, and build anew where one has."""
        with self._lock:
            self._sure = False

    def _taken(self) -> Projector | None:
        """Let go of the projector, so that no two catalogues are in memory when another one is read."""
        projector, self._projector, self._key = self._projector, None, None
        return projector
