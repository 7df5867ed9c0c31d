"""The part of the client that runs the service: refresh and status."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from grpc_service.client_calls import ServiceCalls
from grpc_service.client_errors import error_of_call
from grpc_service.client_types import Tier, id_list
from grpc_service.pb.anacrusis.v1 import admin_service_pb2 as admin_pb

REFRESH_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True)
class RefreshStep:
    """One message of a refresh: progress, and the report as the last.

    Attributes
    ----------
    stage : str
        What is being done; ``"done"`` for the report.
    done, total : int
        Units; with the report, tracks projected and tracks in the snapshot.
    detail : str
        A remark for a person.
    space_id, snapshot_id : str
        What is served.
    held_back : str
        With the report: the newest snapshot, where somebody went back from it and nothing has changed since, so that
        the older one is served on. Else empty.
    """

    stage: str
    done: int
    total: int
    detail: str
    space_id: str
    snapshot_id: str
    held_back: str = ""


@dataclass(frozen=True)
class Upkeep:
    """Whether the upkeep of the home's tables keeps up, counted once a minute.

    Attributes
    ----------
    small_fragments, versions : int
        Of the table that has most of them.
    alerts : tuple of str
        What somebody should look into, a sentence each.
    counted_at : datetime
        In UTC.
    """

    small_fragments: int
    versions: int
    alerts: tuple[str, ...]
    counted_at: dt.datetime


@dataclass(frozen=True)
class ServiceStatus:
    """What the service serves; the counts are of tracks.

    Attributes
    ----------
    space_id, snapshot_id : str
        Empty while none is published.
    dim : int
    metric : str
    snapshot_time : datetime or None
        When the snapshot was built, in UTC.
    tier_counts : dict of Tier to int
    track_count, fresh_count, withdrawn_count : int
    encoder_id, model_id, device : str
    waiting_query_count, waiting_job_count : int
    read_only : bool
        Whether the server is a replica, which changes nothing.
    poll_interval_s : float
        Seconds between two looks for what other processes did.
    upkeep : Upkeep or None
        None until it was counted for the first time, right after the server's start.
    """

    space_id: str
    snapshot_id: str
    dim: int
    metric: str
    snapshot_time: dt.datetime | None
    tier_counts: dict[Tier, int]
    track_count: int
    fresh_count: int
    withdrawn_count: int
    encoder_id: str
    model_id: str
    device: str
    waiting_query_count: int
    waiting_job_count: int
    read_only: bool
    poll_interval_s: float
    upkeep: Upkeep | None


class AdminCalls(ServiceCalls):
    """What the people and jobs that run the service ask; `grpc_service.client.Client` is made of this."""

    def refresh(
        self, artist_ids: Sequence[str] = (), *, everything: bool = False, timeout_s: float = REFRESH_TIMEOUT_S
    ) -> Iterator[RefreshStep]:
        """Project what has changed and publish; stopping to iterate stops the refresh before it publishes.

        Parameters
        ----------
        artist_ids : sequence of str, optional
            Only tracks that credit one of these artists. Default: whoever they are by.
        everything : bool, optional
            Project tracks that nothing has touched, too.
        timeout_s : float, optional
            For the whole refresh.

        Yields
        ------
        RefreshStep
            Progress, then the report.
        """
        request = admin_pb.RefreshArtistsRequest(artist_ids=id_list(artist_ids, "artist_ids"), all=everything)
        call = self._admin.RefreshArtists(request, timeout=timeout_s, metadata=self._policy.metadata)
        try:
            for reply in call:
                yield refresh_step_from(reply)
        except grpc.RpcError as error:
            raise error_of_call(error) from None
        finally:
            call.cancel()

    def status(self, *, timeout_s: float | None = None) -> ServiceStatus:
        """Ask what is served and how much of it.

        Parameters
        ----------
        timeout_s : float, optional
            Instead of the client's.

        Returns
        -------
        ServiceStatus
            At this moment.
        """
        reply = self._policy.unary(self._admin.GetStatus, admin_pb.GetStatusRequest(), timeout_s)
        return status_from(reply)


def refresh_step_from(reply: admin_pb.RefreshArtistsResponse) -> RefreshStep:
    """Read one message of a refresh."""
    if reply.WhichOneof("event") == "progress":
        step = reply.progress
        return RefreshStep(step.stage, step.done, step.total, step.detail, reply.space_id, reply.snapshot_id)
    report = reply.report
    return RefreshStep(
        "done",
        report.projected_count,
        report.row_count,
        report.why,
        reply.space_id,
        reply.snapshot_id,
        report.held_back,
    )


def status_from(reply: admin_pb.GetStatusResponse) -> ServiceStatus:
    """Read what is served."""
    return ServiceStatus(
        space_id=reply.space_id,
        snapshot_id=reply.snapshot_id,
        dim=reply.dim,
        metric=reply.metric,
        snapshot_time=reply.snapshot_time.ToDatetime(dt.UTC) if reply.HasField("snapshot_time") else None,
        tier_counts={
            Tier.COLLABORATIVE: reply.collaborative_count,
            Tier.ARTIST_TRANSFER: reply.artist_transfer_count,
            Tier.AUDIO_ONLY: reply.audio_only_count,
        },
        track_count=reply.track_count,
        fresh_count=reply.fresh_count,
        withdrawn_count=reply.withdrawn_count,
        encoder_id=reply.encoder_id,
        model_id=reply.model_id,
        device=reply.device,
        waiting_query_count=reply.waiting_query_count,
        waiting_job_count=reply.waiting_job_count,
        read_only=reply.read_only,
        poll_interval_s=reply.poll_interval_s,
        upkeep=_upkeep_from(reply.upkeep) if reply.HasField("upkeep") else None,
    )


def _upkeep_from(message: admin_pb.UpkeepFigures) -> Upkeep:
    return Upkeep(
        message.small_fragment_count,
        message.version_count,
        tuple(message.alerts),
        message.counted_time.ToDatetime(dt.UTC),
    )
