"""A home folder in which the made catalogue is served, and an object store for homes to lie on."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from made_catalogue import SPACE_ID, warm_factors, warm_releases

from jobs import Engine
from jobs.factors import Factors
from jobs.ingest_manifest import ingest_manifest
from jobs.manifest import Manifest
from jobs.spaces import import_space

# One thread a process: the networks of these tests are small, and two cores are shared by whoever else runs here.
torch.set_num_threads(1)

# Nothing here asserts on wall-clock time, on a machine that others use as well.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture(scope="session", autouse=True)
def _no_power_failure() -> Iterator[None]:
    """Nothing waits for the disk: what was written survives a killed process, which is all that can happen here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def _home_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("template") / "home"
    releases = warm_releases()
    users = Factors(np.array(["listener"]), warm_factors().vectors[:1])
    with Engine.open(home, create=True) as engine:
        report = ingest_manifest(engine, Manifest(releases, list(range(1, len(releases) + 1)), []))
        assert not report.refused
        import_space(engine, SPACE_ID, warm_factors(), users)
        engine.refresh(space_id=SPACE_ID)
    return home


@pytest.fixture
def home(_home_template: Path, tmp_path: Path) -> Path:
    """A home folder of its own, in which twelve warm tracks are served."""
    return Path(shutil.copytree(_home_template, tmp_path / "home"))


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    """That home folder, opened."""
    with Engine.open(home) as opened:
        yield opened


BUCKET = "anacrusis-tests"


# A process of its own: its threads and the home's would wait for each other's interpreter lock.
_S3_SERVER = """
import logging, sys
logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def _s3_endpoint() -> Iterator[str]:
    with subprocess.Popen(
        [sys.executable, "-c", _S3_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.kill()


@pytest.fixture
def s3(_s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """An S3 server with one bucket, as a boto3 client; the environment says how to reach it."""
    for name, value in {
        "AWS_ENDPOINT_URL": _s3_endpoint,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=BUCKET)
    return client


@pytest.fixture
def s3_home(s3: object) -> str:
    """Address of a home on that server, not yet made."""
    return f"s3://{BUCKET}/homes/{secrets.token_hex(4)}"
