"""The Dockerfile, the Makefile and the CI script say the same as the project."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
from inspect import signature

import pytest
from repository_files import ROOT, pyproject

from anacrusis.settings import load_settings
from grpc_service.options import ServerOptions
from grpc_service.server import run_server

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")
]


def instructions(kind: str) -> list[str]:
    return [line.split(maxsplit=1)[1].strip() for line in INSTRUCTIONS if line.split()[0] == kind]


def final_stage() -> list[str]:
    last = max(number for number, line in enumerate(INSTRUCTIONS) if line.startswith("FROM "))
    return INSTRUCTIONS[last:]


def test_both_install_alike():
    (install,) = re.findall(r"^INSTALL := (.+)$", MAKEFILE, re.MULTILINE)
    installs = re.findall(r"pip install [^&\n]+", "\n".join(instructions("RUN")))
    assert len(installs) == 2
    assert all(each.startswith(install) for each in installs)
    constraints = install.split("--constraint ")[1]
    assert (ROOT / constraints).is_file()
    assert any(constraints in copied.split() for copied in instructions("COPY"))


def test_both_use_the_projects_python():
    least, below = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", pyproject()["project"]["requires-python"]).groups()
    assert int(below) == int(least) + 1
    images = {line.split()[0] for line in instructions("FROM")}
    assert images == {f"python:3.{least}-slim"}
    assert f"!= (3, {least})" in MAKEFILE
    assert f"python3.{least}" in MAKEFILE
    assert pyproject()["tool"]["mypy"]["python_version"] == f"3.{least}"
    assert pyproject()["tool"]["ruff"]["target-version"] == f"py3{least}"


def test_the_container_runs_the_console_script():
    (entry,), (command,) = (json.loads(instructions(kind)[0]) for kind in ("ENTRYPOINT", "CMD"))
    assert entry in pyproject()["project"]["scripts"]
    assert command == "serve"


def test_the_containers_variables_are_settings(monkeypatch: pytest.MonkeyPatch):
    """Read by the settings themselves: a misspelt one would stop the container."""
    for name in [name for name in os.environ if name.startswith("ANACRUSIS_")]:
        monkeypatch.delenv(name)
    for name, value in re.findall(r"(ANACRUSIS_\w+)=(\S+)", "\n".join(instructions("ENV"))):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.server.host == "0.0.0.0"  # reachable from outside of the container
    assert [str(settings.home)] == instructions("VOLUME")
    assert instructions("EXPOSE") == [str(settings.server.port)] == [str(ServerOptions().port)]


def test_the_health_check_asks_a_module_that_is_there():
    (check,) = instructions("HEALTHCHECK")
    python, option, module, address = json.loads(check.split("CMD", 1)[1])
    assert (python, option) == ("python", "-m")
    assert importlib.util.find_spec(module) is not None
    assert address == f"127.0.0.1:{ServerOptions().port}"


def test_the_container_is_not_root_and_owns_its_home():
    stage = final_stage()
    (user,) = (line.split()[1] for line in stage if line.startswith("USER "))
    assert user not in ("root", "0")
    (made,) = (line for line in stage if "useradd" in line)
    assert made.split("&&")[0].split()[-1] == user
    assert f"--owner {user} {instructions('VOLUME')[0]}" in made


def test_stopping_drains():
    (signal_name,) = instructions("STOPSIGNAL")
    assert signal.Signals[signal_name] in signature(run_server).parameters["signals"].default


def test_ci_runs_what_people_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    targets = re.findall(r"^make (\w+)$", script.read_text(encoding="utf-8"), re.MULTILINE)
    assert targets == ["test", "check"]
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0


def test_every_target_is_phony_and_explained():
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == targets
    assert set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)) == targets
    assert {"demo", "test", "test-all", "check", "proto", "bench"} <= targets
