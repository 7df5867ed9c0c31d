"""What the documents tell people to type exists, and what they promise is what the code has."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import shlex
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import typer
from google.protobuf import json_format
from repository_files import ROOT, documents, fenced, inline_code, shell_lines

from anacrusis.cli import app
from anacrusis.settings import load_settings
from encoders import AudioLimits
from grpc_service.access_options import LimitOptions
from grpc_service.client import Client, Feedback, FeedbackReport, FeedbackResult, SearchOptions, WarmedTrack
from grpc_service.errors import RULES
from grpc_service.options import ServerOptions
from grpc_service.pb.anacrusis.v1 import (
    admin_service_pb2,
    embedding_service_pb2,
    neighbor_service_pb2,
    release_service_pb2,
)

README = ROOT / "README.md"
MENTIONED = [(path, line) for path in documents() for line in (*shell_lines(path), *inline_code(path))]


def label(value: object) -> str:
    return value.name if isinstance(value, Path) else str(value)


def test_what_is_there_to_read():
    names = {str(path.relative_to(ROOT)) for path in documents()}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/adr/README.md"} <= names


@pytest.mark.parametrize("line", [line for line in shell_lines(README) if re.match(r"(anacrusis|docker run) ", line)])
def test_the_commands_of_the_readme_parse(line: str):
    """By the command line's own parser, arguments and all; nothing is run."""
    words = shlex.split(line)
    if words[0] == "docker":  # what follows the image is the container's command; without one it is `serve`
        words = words[max(place for place, word in enumerate(words) if word == "anacrusis") :]
        words += ["serve"] if len(words) == 1 else []
    command: Any = typer.main.get_command(app)
    context: Any = None
    name, rest = words[0], words[1:]
    while True:
        context = command.make_context(name, rest, parent=context)
        left = [*getattr(context, "_protected_args", []), *context.args]
        if not hasattr(command, "resolve_command"):
            assert left == []
            return
        name, command, rest = command.resolve_command(context, left)


@pytest.mark.parametrize(("path", "line"), [one for one in MENTIONED if one[1].startswith("anacrusis ")], ids=label)
def test_every_mentioned_command_and_option_exists(path: Path, line: str):
    """Also in running text, where arguments may be left out."""
    command: Any = typer.main.get_command(app)
    options = {option for parameter in command.params for option in parameter.opts}
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        word = words.pop(0) if words else ""
        if word.startswith("-"):
            assert word in options, f"{path.name} speaks of {word} in {line!r}"
            words.pop(0)
        else:
            assert word in command.commands, f"{path.name} speaks of {line!r}"
            command = command.commands[word]
            options |= {option for parameter in command.params for option in parameter.opts}
    used = {word for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options | {"--help"}, f"{path.name} speaks of {line!r}"


@pytest.mark.parametrize(("path", "line"), [one for one in MENTIONED if one[1].startswith("make ")], ids=label)
def test_every_mentioned_target_exists(path: Path, line: str):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert line.split()[1] in targets


@pytest.mark.parametrize(("path", "line"), [one for one in MENTIONED if "python -m " in one[1]], ids=label)
def test_every_mentioned_module_exists(path: Path, line: str):
    module = line.split("python -m ")[1].split()[0]
    assert importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("path", documents(), ids=label)
def test_links_lead_somewhere(path: Path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    ("path", "name"), [one for one in MENTIONED if re.fullmatch(r"[\w.]+(/[\w.*]+)+(\.\w+)?", one[1])], ids=label
)
def test_mentioned_files_exist(path: Path, name: str):
    """``room/file.py`` between backticks; what lies in a home folder is for another test."""
    if name.split("/")[0] in {one.name for one in ROOT.iterdir()}:
        assert list(ROOT.glob(name)), f"{path.name} speaks of {name}"


def test_the_configuration_example_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("CONFIG", "HOME", "DEVICE", "ENCODER", "LOG_LEVEL"):
        monkeypatch.delenv(f"ANACRUSIS_{name}", raising=False)
    (example,) = fenced(README, "toml")
    config = tmp_path / "anacrusis.toml"
    config.write_text(example, encoding="utf-8")
    found, defaults = load_settings(config), load_settings()
    assert asdict(found.audio) == asdict(AudioLimits())
    assert found.limits == LimitOptions()
    assert set(re.findall(r"^(\w+) =", example.split("[limits]")[1].split("\n[")[0], re.MULTILINE)) == set(
        asdict(LimitOptions())
    )
    assert asdict(found.server) | {"allowed_roots": ()} == asdict(ServerOptions())
    assert (found.encoder, found.device, found.log_level) == (defaults.encoder, defaults.device, defaults.log_level)
    assert set(re.findall(r"^(\w+) =", example.split("[audio]")[1], re.MULTILINE)) == set(asdict(AudioLimits()))


def test_the_python_examples_fit_the_client():
    examples = [ast.parse(example) for example in fenced(README, "python")]
    nodes = [node for tree in examples for node in ast.walk(tree)]
    calls = {
        method: node
        for node in nodes
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "client"
        and (method := node.func.attr)
    }
    assert {"ingest", "neighbors_of_track", "neighbors_of_users", "record_feedback", "status"} <= calls.keys()
    for method, call in calls.items():
        keywords = {word.arg: word.value for word in call.keywords}
        bound = inspect.signature(getattr(Client, method)).bind(None, *call.args, **keywords)
        assert set(bound.arguments.get("options", {})) <= SearchOptions.__annotations__.keys()
    (event,) = (node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "Feedback")
    Feedback(
        *map(ast.literal_eval, event.args), **{word.arg: ast.literal_eval(word.value) for word in event.keywords}
    ).message()
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    assert {"state", "tier", "confidence", "leaned_on", "results", "tracks"} <= used
    of_feedback = {node.attr for node in ast.walk(examples[1]) if isinstance(node, ast.Attribute)}
    given = {field.name for kind in (FeedbackReport, FeedbackResult, WarmedTrack) for field in fields(kind)}
    assert of_feedback - {"record_feedback"} <= given


def test_the_grpcurl_line_is_a_request_of_the_proto():
    (line,) = (line for line in shell_lines(README) if line.startswith("grpcurl "))
    words = shlex.split(line)
    service_name, method_name = words[-1].rsplit("/", 1)
    services = {
        f"{module.DESCRIPTOR.package}.{name}": service
        for module in (admin_service_pb2, embedding_service_pb2, neighbor_service_pb2, release_service_pb2)
        for name, service in module.DESCRIPTOR.services_by_name.items()
    }
    method = services[service_name].methods_by_name[method_name]
    body = json.loads(words[words.index("-d") + 1])
    request = json_format.ParseDict(body, getattr(neighbor_service_pb2, method.input_type.name)())
    assert request.track_id == body["track_id"]


def test_the_table_of_codes_is_the_mapping():
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    named: dict[str, set[str]] = {}
    for codes, reasons in rows:
        for reason in re.findall(r"`([A-Z_]+)`", reasons):
            named[reason] = set(re.findall(r"[A-Z_]+", codes))
    assert len(named) > 20
    for reason, codes in named.items():
        assert RULES[reason].code.name in codes, reason
    assert {rule.code.name for rule in RULES.values()} <= {
        code for codes, _ in rows for code in re.findall(r"\w+", codes)
    }


def test_records_of_decisions_are_numbered_and_listed():
    folder = ROOT / "docs" / "adr"
    records = sorted(path for path in folder.glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    index = (folder / "README.md").read_text(encoding="utf-8")
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert f"]({path.name})" in index
        assert re.match(rf"# {int(path.name[:4])}\. \S", text), path.name
        assert [line for line in text.splitlines() if line.startswith("## ")] == [
            "## Context",
            "## Decision",
            "## Consequences",
        ], path.name


def test_the_page_of_the_home_folder_names_what_lies_there():
    from index.layout import _KNOWN
    from jobs.models import FOLDER

    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    missing = [name for name in (*_KNOWN, FOLDER) if not re.search(rf"`{re.escape(name)}[/`]", text)]
    assert missing == []


def test_the_tests_that_the_threat_model_names_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", text)
    assert len(named) > 50
    there = {
        (path.name, name)
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert [one for one in named if one not in there] == []
