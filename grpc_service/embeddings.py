"""The servicer of EmbeddingService."""

from __future__ import annotations

import numpy as np

from grpc_service import track_messages
from grpc_service.call_context import CallContext
from grpc_service.errors import to_status
from grpc_service.ids import checked_ids
from grpc_service.packing import pack_vectors
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2 as pb
from grpc_service.pb.anacrusis.v1 import embedding_service_pb2_grpc as pb_grpc
from grpc_service.request_ids import current_request_id
from grpc_service.work import Work, deadline_of


class EmbeddingServicer(pb_grpc.EmbeddingServiceServicer):
    """Hands served vectors out; see the proto for each method.

    Parameters
    ----------
    work : Work
        The engine behind its queues.
    """

    def __init__(self, work: Work) -> None:
        self._work = work

    async def GetEmbedding(  # noqa: N802, D102 - the proto names and documents it
        self, request: pb.GetEmbeddingRequest, context: CallContext
    ) -> pb.GetEmbeddingResponse:
        element_type = track_messages.checked_element_type(request.element_type)
        ids = checked_ids([request.track_id])
        deadline_of(context)
        answer = await self._work.lookups.run(self._work.engine.embeddings, ids, space_id=request.space_id)
        (embedding,) = answer.embeddings
        if isinstance(embedding, Exception):
            raise embedding
        return pb.GetEmbeddingResponse(
            space_id=answer.space_id,
            snapshot_id=answer.snapshot_id,
            vector=pack_vectors(embedding.vector, element_type),
            provenance=track_messages.provenance(embedding),
        )

    async def BatchGetEmbeddings(  # noqa: N802, D102
        self, request: pb.BatchGetEmbeddingsRequest, context: CallContext
    ) -> pb.BatchGetEmbeddingsResponse:
        element_type = track_messages.checked_element_type(request.element_type)
        ids = checked_ids(request.track_ids)
        deadline_of(context)
        answer = await self._work.lookups.run(self._work.engine.embeddings, ids, space_id=request.space_id)
        response = pb.BatchGetEmbeddingsResponse(space_id=answer.space_id, snapshot_id=answer.snapshot_id)
        rows = []
        for track_id, embedding in zip(ids, answer.embeddings, strict=True):
            if isinstance(embedding, Exception):
                error = to_status(embedding, current_request_id())
                response.failures.append(pb.EmbeddingFailure(track_id=track_id, error=error))
            else:
                rows.append(embedding.vector)
                response.provenances.append(track_messages.provenance(embedding))
        if rows:
            response.vectors.CopyFrom(pack_vectors(np.stack(rows), element_type))
        return response
