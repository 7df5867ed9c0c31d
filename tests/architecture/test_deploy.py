"""The files of deploy/: valid by their schemas, and in step with the program."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from repository_files import ROOT, pyproject

from anacrusis.cli import app
from anacrusis.settings import load_settings
from grpc_service.exposure import Protection, require_protection
from grpc_service.options import ServerOptions
from grpc_service.readiness import ALIVE_WITHIN_S

COMPOSE = ROOT / "deploy" / "compose.yaml"
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = sorted(FOLDER.rglob("*.yaml"))
IMAGE = f"anacrusis:{pyproject()['project']['version']}"
BIN = Path(sys.executable).parent
CA = "/etc/anacrusis/tls/ca.crt"
COMPOSE_CHECK = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
KUBERNETES_CHECK = ["kubernetes-validate", "--strict"]


def resources() -> list[tuple[str, dict[str, Any]]]:
    """Each with the file that it stands in."""
    return [
        (path.relative_to(FOLDER).as_posix(), one)
        for path in KUBERNETES
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod, with the name of what makes it."""
    for name, _, pod in templates():
        yield name, pod


def templates() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every template of a pod: the name of what makes it, its metadata, the pod."""
    for _, one in resources():
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield one["metadata"]["name"], spec["template"].get("metadata", {}), spec["template"]["spec"]


def containers() -> list[tuple[str, dict[str, Any]]]:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    found = [(name, {**service, "args": service["command"]}) for name, service in services.items()]
    return found + [(name, container) for name, pod in pods() for container in pod["containers"]]


def accepted(check: list[str], text: str, path: Path) -> bool:
    path.write_text(text, encoding="utf-8")
    return (
        subprocess.run([str(BIN / check[0]), *check[1:], str(path)], capture_output=True, check=False).returncode == 0
    )


def test_the_schemas_tell_right_from_wrong(tmp_path: Path) -> None:
    """Without a network: `make check` relies on it."""
    right = COMPOSE.read_text(encoding="utf-8")
    assert accepted(COMPOSE_CHECK, right, tmp_path / "right.yaml")
    assert not accepted(COMPOSE_CHECK, right.replace("healthcheck:", "heltcheck:"), tmp_path / "wrong.yaml")
    right = (ROOT / "deploy" / "kubernetes" / "replicas.yaml").read_text(encoding="utf-8")
    assert accepted(KUBERNETES_CHECK, right, tmp_path / "right.yaml")
    assert not accepted(KUBERNETES_CHECK, right.replace("readinessProbe", "readynessProbe"), tmp_path / "wrong.yaml")
    assert not accepted(KUBERNETES_CHECK, right.replace("replicas: 2", "replicas: two"), tmp_path / "wrong.yaml")


def test_make_check_asks_the_schemas() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"$(BIN)/{' '.join(COMPOSE_CHECK)} deploy/compose.yaml" in makefile
    (line,) = (line for line in makefile.splitlines() if f"$(BIN)/{' '.join(KUBERNETES_CHECK)}" in line)
    covered = {path for pattern in line.split()[2:] for path in ROOT.glob(pattern)}
    assert covered == set(KUBERNETES)


@pytest.mark.parametrize(("name", "container"), containers())
def test_every_container_runs_a_command_that_is_there(name: str, container: dict[str, Any]) -> None:
    assert container["image"] == IMAGE
    word, *rest = container["args"]
    commands: Any = typer.main.get_command(app)
    command = commands.commands[word]
    command.make_context(word, list(rest), parent=commands.make_context("anacrusis", [word]))
    assert ("--read-only" in rest) == ("replica" in name)


def test_every_variable_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    written = [service.get("environment", {}) for service in compose.values()]
    written += [one["data"] for _, one in resources() if one["kind"] == "ConfigMap"]
    written += [{entry["name"]: entry.get("value") for entry in one.get("env", [])} for _, one in containers()]
    for variables in written:
        for name, value in variables.items():
            if name.startswith("ANACRUSIS_"):
                monkeypatch.setenv(name, str(value))
            else:
                assert name.startswith("AWS_")
    assert load_settings().home is not None


def test_no_file_holds_a_secret() -> None:
    assert all(one["kind"] != "Secret" for _, one in resources())
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for service in compose.values():
        assert all(value is None for name, value in service["environment"].items() if name.startswith("AWS_"))
    configured = {name for _, one in resources() if one["kind"] == "ConfigMap" for name in one["data"]}
    values = {
        name: value for _, one in resources() if one["kind"] == "ConfigMap" for name, value in one["data"].items()
    }
    secretive = {name for name in configured if "KEY" in name or "TOKEN" in name}
    assert all(values[name].startswith("/etc/anacrusis/") for name in secretive)  # where it lies, and not what it is
    for name, container in containers():
        if "envFrom" in container:
            assert {"secretRef": {"name": "anacrusis-object-store"}} in container["envFrom"], name


def test_servers_are_probed_where_they_listen_and_get_their_grace() -> None:
    options = ServerOptions()
    probed = 0
    (configured,) = (one["data"] for _, one in resources() if one["kind"] == "ConfigMap")
    for name, metadata, pod in templates():
        (container,) = pod["containers"]
        if container["args"][0] != "serve":
            continue
        probed += 1
        metrics = {port["name"]: port["containerPort"] for port in container["ports"]}["metrics"]
        assert str(metrics) == configured["ANACRUSIS_METRICS__PORT"]
        assert metadata["annotations"]["prometheus.io/port"] == str(metrics)
        assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "metrics"}
        assert container["livenessProbe"]["timeoutSeconds"] > ALIVE_WITHIN_S
        by_http = "httpGet" in container["readinessProbe"]
        assert by_http == (name == "anacrusis-replicas")  # the writer takes releases before anything is served
        if by_http:
            assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
        for kind in ("startupProbe",) if by_http else ("startupProbe", "readinessProbe"):
            # Kubernetes' own probes of gRPC speak plain text.
            python, option, module, address, *rest = container[kind]["exec"]["command"]
            assert (python, option, module) == ("python", "-m", "grpc_service.probe")
            assert address == f"127.0.0.1:{options.port}"
            assert dict(zip(rest[::2], rest[1::2], strict=True)) == {"--ca": CA, "--name": name}
            assert container[kind]["timeoutSeconds"] >= 5
        assert [port["containerPort"] for port in container["ports"]] == [options.port, metrics]
        assert pod["terminationGracePeriodSeconds"] > options.grace_s
    assert probed == 3
    for service in yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values():
        assert float(service["stop_grace_period"].removesuffix("s")) > options.grace_s
        if service["command"][0] == "serve":
            assert service["healthcheck"]["test"][-1] == f"127.0.0.1:{options.port}"
            assert all(mapping.endswith(f":{options.port}") for mapping in service["ports"])


def test_every_server_is_protected_or_is_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where it is told twice, its port is published on the loopback alone."""
    compose = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for service in compose.values():
        if service["command"][0] == "serve":
            assert service["environment"]["ANACRUSIS_SERVER__INSECURE"] == "true"
            assert "--insecure" in service["command"]
            assert all(mapping.startswith("127.0.0.1:") for mapping in service["ports"])
    (configured,) = (one["data"] for _, one in resources() if one["kind"] == "ConfigMap")
    for name, value in configured.items():
        monkeypatch.setenv(name, value)
    found = load_settings()
    require_protection(ServerOptions(host="0.0.0.0"), Protection(found.tls, found.access))
    for name, pod in pods():
        (container,) = pod["containers"]
        assert "--insecure" not in container["args"]
        if container["args"][0] != "serve":
            continue
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        given = {volume["name"]: volume.get("secret", {}) for volume in pod["volumes"]}
        for path in (found.tls.certificate, found.tls.key, found.access.tokens, Path(CA)):
            assert path is not None
            (volume,) = (volume for volume, folder in mounted.items() if path.parent == Path(folder))
            assert given[volume]["secretName"] == f"anacrusis-{volume}", name
            assert given[volume]["defaultMode"] == 0o440


def test_there_is_one_writer_and_one_refresh_at_a_time() -> None:
    named = {(one["kind"], one["metadata"]["name"], file): one for file, one in resources()}
    writer = named["Deployment", "anacrusis-writer", "writer.yaml"]
    assert (writer["spec"]["replicas"], writer["spec"]["strategy"]["type"]) == (1, "Recreate")
    assert named["CronJob", "anacrusis-refresh", "refresh.yaml"]["spec"]["concurrencyPolicy"] == "Forbid"
    for file, one in resources():
        if one["kind"] == "Service":
            (target,) = (each for other, each in resources() if (other, each["kind"]) == (file, "Deployment"))
            assert one["spec"]["selector"] == target["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["ports"][0]["port"] == ServerOptions().port
    replicas = named["Service", "anacrusis-replicas", "replicas.yaml"]
    assert replicas["spec"]["clusterIP"] == "None"  # so that clients see each


def test_the_writer_with_a_gpu_is_the_writer() -> None:
    plain, gpu = (
        one
        for wanted in ("writer.yaml", "gpu/writer.yaml")
        for file, one in resources()
        if (file, one["kind"]) == (wanted, "Deployment")
    )
    assert gpu["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu": 1}
    assert gpu["spec"]["template"]["spec"]["nodeSelector"]
    reduced = copy.deepcopy(gpu)
    pod = reduced["spec"]["template"]["spec"]
    del pod["nodeSelector"], pod["tolerations"], pod["containers"][0]["resources"]["limits"]
    assert reduced == plain
