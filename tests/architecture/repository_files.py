"""The repository as these tests read it: its files, its source, its documents."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("encoders", "artist_transfer", "index", "jobs", "grpc_service", "anacrusis")
GENERATED = ROOT / "grpc_service" / "pb"
_PASSED_OVER = {"__pycache__", "build", "dist"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file that belongs to the repository; asks no git, so that an unpacked archive can be tested too."""

    def walk() -> Iterator[Path]:
        for folder, folders, names in os.walk(ROOT):
            folders[:] = sorted(
                name
                for name in folders
                if (not name.startswith(".") or name == ".ci")
                and name not in _PASSED_OVER
                and not name.endswith(".egg-info")
            )
            yield from (Path(folder) / name for name in sorted(names) if name != ".coverage")

    return tuple(walk())


@cache
def source_files() -> tuple[Path, ...]:
    """The rooms' modules, without generated code."""
    return tuple(
        path
        for path in repository_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in ROOMS and GENERATED not in path.parents
    )


@cache
def syntax_tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def documents() -> tuple[Path, ...]:
    """README and everything else that is written for people."""
    return tuple(path for path in repository_files() if path.suffix == ".md" and path.name != "LICENSE.md")


def fenced(path: Path, language: str) -> list[str]:
    """The blocks of a document in one language."""
    blocks = _FENCE.findall(path.read_text(encoding="utf-8"))
    return [text for kind, text in blocks if kind == language]


def shell_lines(path: Path) -> list[str]:
    """The commands of a document's shell blocks; a backslash joins lines, a comment ends them."""
    text = "\n".join(fenced(path, "bash")).replace("\\\n", " ")
    return [line for line in (each.split(" #")[0].strip() for each in text.splitlines()) if line and line[0] != "#"]


def inline_code(path: Path) -> list[str]:
    """What stands between backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", path.read_text(encoding="utf-8")))
