"""A server of several workers with TLS and tokens: whichever is asked, the same callers may do the same."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from anacrusis.server_process import running_server
from benchmarks.made_certificates import Authority
from grpc_service.client_errors import error_of_call
from grpc_service.pb.anacrusis.v1.admin_service_pb2 import GetStatusRequest
from grpc_service.pb.anacrusis.v1.admin_service_pb2_grpc import AdminServiceStub
from grpc_service.pb.anacrusis.v1.release_service_pb2 import WithdrawTracksRequest
from grpc_service.pb.anacrusis.v1.release_service_pb2_grpc import ReleaseServiceStub
from grpc_service.probe import serving_status
from grpc_service.roles import Role
from grpc_service.tokens import add_token, revoke_token

CONNECTIONS = 12  # the system chooses a worker for each; nothing here depends on which


def until_refused(call: Callable[[], object]) -> None:
    """Each worker looks for new tokens once a second."""
    for _ in range(600):
        try:
            call()
        except grpc.RpcError as error:
            reason = error_of_call(error).reason
            break
        time.sleep(0.1)
    else:
        raise AssertionError("the token is still taken")
    assert reason == "TOKEN_INVALID"


@pytest.mark.slow
def test_workers_let_in_alike_and_say_whom_it_was_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tokens = Authority(tmp_path), tmp_path / "tokens.json"
    certificate, key = authority.vouch("server", "server", local=True)
    secrets = {name: add_token(tokens, name, Role.of(name))[0] for name in ("read", "admin")}
    monkeypatch.setenv("ANACRUSIS_TLS__CERTIFICATE", str(certificate))
    monkeypatch.setenv("ANACRUSIS_TLS__KEY", str(key))
    monkeypatch.setenv("ANACRUSIS_ACCESS__TOKENS", str(tokens))

    def bearer(name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {secrets[name]}"), ("x-anacrusis-caller", "admin token:forged"))

    def refused(call: object) -> str:
        with pytest.raises(grpc.RpcError) as caught:
            call()  # type: ignore[operator]
        return error_of_call(caught.value).reason

    with running_server(home, "--workers", "2") as server, ExitStack() as stack:
        assert serving_status(server.address, ca=str(authority.path), timeout_s=20.0) == "SERVING"
        assert serving_status(server.address) != "SERVING"
        credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [
            stack.enter_context(grpc.secure_channel(server.address, credentials, options=options))
            for _ in range(CONNECTIONS)
        ]
        for number, channel in enumerate(channels):
            release, admin = ReleaseServiceStub(channel), AdminServiceStub(channel)
            request = WithdrawTracksRequest(track_ids=[f"gone-{number}"])
            assert refused(lambda admin=admin: admin.GetStatus(GetStatusRequest(), timeout=60)) == "TOKEN_MISSING"
            assert admin.GetStatus(GetStatusRequest(), timeout=60, metadata=bearer("read")).track_count
            denied = refused(
                lambda release=release, request=request: release.WithdrawTracks(
                    request, timeout=60, metadata=bearer("read")
                )
            )
            assert denied == "ROLE_TOO_LOW"
            reply = release.WithdrawTracks(request, timeout=60, metadata=bearer("admin"))
            assert list(reply.newly_withdrawn_track_ids) == [f"gone-{number}"]
        found = [json.loads(line) for line in (home / "audit.jsonl").read_text().splitlines()]
        assert [one["outcome"] for one in found] == ["begun", "done"] * CONNECTIONS
        assert {one["who"] for one in found} == {"token:admin"}
        assert all(one["peer"].startswith("ipv4:127.0.0.1:") for one in found)
        assert [one["what"]["track_ids"] for one in found[::2]] == [[f"gone-{n}"] for n in range(CONNECTIONS)]
        revoke_token(tokens, "read")
        for channel in channels:
            stub = AdminServiceStub(channel)
            until_refused(lambda stub=stub: stub.GetStatus(GetStatusRequest(), timeout=60, metadata=bearer("read")))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
