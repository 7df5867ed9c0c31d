"""Projecting a refresh's tracks on Ray: blocks of ids out, projected rows back, staged by whoever refreshes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from index import Home, ServedRows, Store
from index.schemas import served_table
from jobs.catalogue_basis import CatalogueBasis, model_digest
from jobs.errors import RayError
from jobs.on_ray import Cluster, RayOptions, ray_cluster, results
from jobs.projecting import STAGE_TRACKS, Projected, ProjectTracks, project_here
from jobs.projector import Projector, choose_model, join_projector

if TYPE_CHECKING:
    from ray.data import Dataset

MIN_BLOCK_TRACKS = 1024  # projected together; below it, a refresh is faster in one process
BLOCKS_A_WORKER = 4


class ProjectBlock:
    """Projects blocks of tracks; lives in a worker's process as long as the job, with its own projector.

    Parameters
    ----------
    home : str
        Address of the home.
    space_id, encoder_id : str
    device : {"auto", "cpu", "cuda"}
    basis : CatalogueBasis
        Of whoever refreshes, read before this worker reads the catalogue.
    catalogue_ids : sequence of str
        The warm tracks that those to be projected may lean on.
    model_id : str or None
        The fitted transfer that the refresh was planned with; None: the artist mean stands in for one.

    Raises
    ------
    RayError
        When another transfer is the newest by now.
    """

    def __init__(
        self,
        home: str,
        space_id: str,
        encoder_id: str,
        device: str,
        basis: CatalogueBasis,
        catalogue_ids: Sequence[str],
        model_id: str | None,
    ) -> None:
        import torch

        torch.set_num_threads(1)  # a process a core; the cores are shared out by Ray
        store = Store.open(home, create=False, read_only=True)
        chosen = choose_model(store.layout, space_id, encoder_id, device=device)
        if chosen.model_id != model_id:
            raise RayError(
                f"The transfer of space {space_id!r} is {chosen.model_id or 'the artist mean'} by now, and was "
                f"{model_id or 'the artist mean'} when the refresh began; run it again."
            )
        projector = join_projector(
            store, space_id, encoder_id, chosen, basis, device=device, catalogue_ids=catalogue_ids
        )
        assert projector is not None  # there was one where the refresh was planned
        self._project = project_here(store, projector)
        self._space_id, self._dim = space_id, store.space(space_id).dim

    def __call__(self, block: pa.Table) -> pa.Table:
        """Project tracks.

        Parameters
        ----------
        block : pyarrow.Table
            A column ``track_id``.

        Returns
        -------
        pyarrow.Table
            Rows as in a served table; tracks that cannot be placed are left out.
        """
        rows = [row for _, batch in self._project(block["track_id"].combine_chunks()) for row in batch]
        return served_table(self._space_id, rows, self._dim)


def projecting_on_ray(
    home: Home, options: RayOptions, *, device: str, closing: ExitStack
) -> Callable[[Projector], ProjectTracks]:
    """Say how a refresh is to project: on Ray, which is started once there is something to project.

    Parameters
    ----------
    home : Home
        Which every machine of the cluster reaches at the same address.
    options : RayOptions
    device : {"auto", "cpu", "cuda"}
    closing : ExitStack
        Ends Ray when it is closed.

    Returns
    -------
    callable
        For `jobs.refresh.refresh_space`.
    """

    def use(projector: Projector) -> ProjectTracks:
        def project(track_ids: pa.Array) -> Projected:
            cluster = closing.enter_context(ray_cluster(options, device=device))
            looked_at = 0
            for table in results(_pipeline(home, projector, track_ids, cluster, device)):
                rows = ServedRows(table).records()
                looked_at += len(rows)
                yield len(rows), rows
            yield len(track_ids) - looked_at, []  # those that have no place

        return project

    return use


def _pipeline(home: Home, projector: Projector, track_ids: pa.Array, cluster: Cluster, device: str) -> Dataset:
    import ray.data

    model = projector.model
    fitted = model.model_id if projector.basis.model == model_digest(model.model_id) else None
    size = min(STAGE_TRACKS, max(MIN_BLOCK_TRACKS, math.ceil(len(track_ids) / (BLOCKS_A_WORKER * cluster.workers))))
    blocks = [pa.table({"track_id": track_ids.slice(at, size)}) for at in range(0, len(track_ids), size)]
    arguments: tuple[Any, ...] = (
        str(home) if home.local is None else str(home.local.absolute()),
        model.space_id,
        model.encoder_id,
        device,
        projector.basis,
        projector.catalogue.tracks.track_ids.tolist(),
        fitted,
    )
    return ray.data.from_arrow(blocks).map_batches(
        ProjectBlock, fn_constructor_args=arguments, batch_size=size, batch_format="pyarrow", **cluster.actors()
    )
