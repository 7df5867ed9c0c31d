"""Which role each method needs: the one table that says who may do what."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """What a caller may do; each role may do what those below it may."""

    READ = 1
    """Ask: neighbours, vectors, what is served, and which methods there are."""

    INGEST = 2
    """Bring in tracks and listeners' feedback, too."""

    ADMIN = 3
    """Withdraw tracks, which is for good, and refresh, which changes what everybody is served."""

    @staticmethod
    def of(name: str) -> Role:
        """Return the role of a name such as ``read``."""
        return Role[name.upper()]

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names, the lowest role's first."""
        return tuple(role.name.lower() for role in Role)


NEEDED: dict[str, Role | None] = {
    "/anacrusis.v1.NeighborService/SearchNeighbors": Role.READ,
    "/anacrusis.v1.NeighborService/BatchSearchNeighbors": Role.READ,
    "/anacrusis.v1.NeighborService/StreamNeighbors": Role.READ,
    "/anacrusis.v1.EmbeddingService/GetEmbedding": Role.READ,
    "/anacrusis.v1.EmbeddingService/BatchGetEmbeddings": Role.READ,
    "/anacrusis.v1.AdminService/GetStatus": Role.READ,
    "/anacrusis.v1.ReleaseService/IngestTrack": Role.INGEST,
    "/anacrusis.v1.ReleaseService/UploadTrack": Role.INGEST,
    "/anacrusis.v1.FeedbackService/RecordFeedback": Role.INGEST,
    # Nobody can take a withdrawal back: a delivery pipeline's token that leaks must not empty the catalogue.
    "/anacrusis.v1.ReleaseService/WithdrawTracks": Role.ADMIN,
    "/anacrusis.v1.AdminService/RefreshArtists": Role.ADMIN,
    # gRPC's own.
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Role.READ,
    # Load balancers and probes have no tokens, and learn nothing but SERVING or NOT_SERVING.
    "/grpc.health.v1.Health/Check": None,
    "/grpc.health.v1.Health/Watch": None,
    "/grpc.health.v1.Health/List": None,
}
"""Full name of every method to the role that it needs; None: whoever asks. A server whose methods are not all here does
not start."""

AUDITED = frozenset(method for method, role in NEEDED.items() if role is Role.ADMIN)
"""Full names of the methods that are written into the audit log."""
