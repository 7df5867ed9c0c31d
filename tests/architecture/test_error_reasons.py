"""Nothing that a caller causes may reach them as INTERNAL: every reason has a rule, or is known to be ours."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from repository_files import ROOT, source_files, syntax_tree

from grpc_service.errors import RULES

# Bases that are never raised themselves.
BASES = {"ENCODER_FAILED", "JOB_FAILED", "STORE", "TRANSPORT_FAILED"}
# Only the machine, its files or its configuration bring these about; to a remote caller they are failures of ours.
OURS = {
    "ACCESS_FILE",
    "ADDRESS_UNAVAILABLE",
    "DEVICE_UNAVAILABLE",
    "ENCODER_FILE",
    "ENCODER_UNKNOWN",
    "MODEL_DAMAGED",
    "MODEL_MISSING",
    "MODEL_NOT_WRITTEN",
    "MODEL_VERSION",
    "OPTION_INVALID",
    "OPTION_OUT_OF_RANGE",
}
# Files and commands that no call of the service reads or runs.
COMMAND_LINE = {
    "BENCHMARK_INVALID",
    "BENCH_IMPOSSIBLE",
    "BRIDGE_INVALID",
    "COMPARISON_INVALID",
    "EVALUATION_INVALID",
    "EXTRA_MISSING",
    "FACTORS_INVALID",
    "FEEDBACK_FILE_INVALID",
    "INTERACTIONS_INVALID",
    "MANIFEST_INVALID",
    "METRICS_UNREACHABLE",
    "NOTHING_IN_COMMON",
    "PUBLISH_REFUSED",
    "RAY_FAILED",
    "TOKEN_NAME",
}
# Contracts between rooms: jobs hands the transfer and the encoders only what passed `Release` and the store.
BETWEEN_ROOMS = {
    "ARTIST_ID_EMPTY",
    "CREDITS_INVALID",
    "ENCODER_MISMATCH",
    "NOT_FINITE",
    "NOT_NUMERIC",
    "ROLE_UNKNOWN",
    "SHAPE_MISMATCH",
    "TRACK_ID_EMPTY",
    "TRACK_ID_REPEATED",
    "WAVEFORM_INVALID",
}
CLIENT = {"NOT_SERVING"}  # the client's own
# Exceptions without a reason: they never leave their room, or are answered in another way.
WITHOUT_REASON = {
    "AbortedCallError",  # how a handler ends its call with a status of its own
    "ClientError",  # carries what the server said, as an argument
    "DecodingStoppedError",
    "LancePanicError",
    "SettingsError",  # the command line prints it and exits with 2
    "UnusableIndexError",
}


def test_every_reason_has_a_rule_or_is_ours():
    known = RULES.keys() | BASES | OURS | COMMAND_LINE | BETWEEN_ROOMS | CLIENT
    unknown = {reason: str(path) for reason, path in _reasons() if reason not in known}
    assert unknown == {}, "give it a rule in grpc_service.errors.RULES, or say here why no caller can cause it"


def test_what_is_listed_is_still_raised():
    raised = {reason for reason, _ in _reasons()}
    assert (RULES.keys() | BASES | OURS | COMMAND_LINE | BETWEEN_ROOMS | CLIENT) - raised == set()


def test_no_reason_is_both_the_callers_and_ours():
    assert RULES.keys() & (BASES | OURS | COMMAND_LINE | BETWEEN_ROOMS | CLIENT) == set()


def test_reasons_are_stable_words():
    assert [reason for reason, _ in _reasons() if not re.fullmatch(r"[A-Z]+(_[A-Z]+)*", reason)] == []


def test_every_exception_carries_a_reason():
    classes = {
        node.name: node
        for path in source_files()
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    }
    assert len(classes) > 50

    def carries(name: str) -> bool:
        if name not in classes:
            return name in WITHOUT_REASON
        node = classes[name]
        own = any(_reason_of(statement) for statement in node.body)
        takes = any(
            isinstance(method, ast.FunctionDef)
            and method.name == "__init__"
            and any(argument.arg == "reason" for argument in method.args.kwonlyargs)
            for method in node.body
        )
        return name in WITHOUT_REASON or own or takes or any(carries(ast.unparse(base)) for base in node.bases)

    assert [name for name in classes if not carries(name)] == []


def test_the_proto_names_codes_and_reasons_as_they_are():
    """``INVALID_ARGUMENT (K_OUT_OF_RANGE, ...)`` in a comment is a promise."""
    promises = re.compile(r"\b([A-Z]+(?:_[A-Z]+)+|UNAVAILABLE|ABORTED)\s+\(([^)]*)\)")
    checked = 0
    for path in sorted((ROOT / "proto").rglob("*.proto")):
        comments = " ".join(line.strip()[2:].strip() for line in path.read_text().splitlines() if "//" in line)
        for code, words in promises.findall(comments):
            for reason in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b|\bDRAINING\b", words):
                assert (reason, RULES[reason].code.name) == (reason, code), path.name
                checked += 1
    assert checked > 40


def _reasons() -> Iterator[tuple[str, Path]]:
    """Every literal reason of the rooms: a class's own, and those handed over where an error is made."""
    for path in source_files():
        for node in ast.walk(syntax_tree(path)):
            reason = _reason_of(node)
            if reason:
                yield reason, path.relative_to(ROOT)


def _reason_of(node: ast.AST) -> str:
    match node:
        case ast.Assign(targets=[ast.Name(id="reason" | "default_reason")], value=ast.Constant(value=str(reason))):
            return reason
        case ast.AnnAssign(target=ast.Name(id="reason" | "default_reason"), value=ast.Constant(value=str(reason))):
            return reason
        case ast.keyword(arg="reason", value=ast.Constant(value=str(reason))):
            return reason
    return ""
