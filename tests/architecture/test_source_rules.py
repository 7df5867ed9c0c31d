"""Rules of the house that no linter can be told, or that a `noqa` must not get round."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from repository_files import ROOT, repository_files, source_files, syntax_tree

TEXT = {".py", ".md", ".toml", ".txt", ".yaml", ".proto", ".csv", ".pyi", ""}
# Written so that they do not find themselves.
STRANGE = (
    r"(?<![\w.])/work" r"/",
    r"\bshared" r"/",
    r"\bissues? #" r"\d",
    r"\bthis ses" r"sion\b",
    r"\bTO" r"DO\b",
    r"\bFIX" r"ME\b",
)


def test_only_the_settings_read_the_environment():
    readers = {
        path.relative_to(ROOT)
        for path in source_files()
        for node in ast.walk(syntax_tree(path))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv"))
        or (isinstance(node, ast.ImportFrom) and {"environ", "getenv"} & {name.name for name in node.names})
        or (isinstance(node, ast.Name) and node.id == "BaseSettings")
        or (isinstance(node, ast.keyword) and node.arg == "envvar")
    }
    assert readers == {Path("anacrusis/settings.py")}


def test_nothing_is_pickled():
    banned = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for path in source_files():
        for node in ast.walk(syntax_tree(path)):
            if isinstance(node, ast.Import):
                assert not banned & {name.name.split(".")[0] for name in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in banned, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("torch.load", "torch.save"), path
                if called in ("np.load", "numpy.load"):
                    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                    assert words.get("allow_pickle") == "False", f"{path}:{node.lineno} lacks allow_pickle=False"


def test_no_exception_is_swallowed_in_silence():
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in source_files()
        for node in ast.walk(syntax_tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert silent == []


@pytest.mark.parametrize("pattern", STRANGE)
def test_nothing_speaks_of_where_it_was_written(pattern: str):
    word = re.compile(pattern)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in repository_files()
        if path.suffix in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if word.search(line)
    ]
    assert found == []


def test_the_proto_lint_asks_for_comments():
    """`make check` runs it: with these categories an element without a comment fails."""
    lint = (ROOT / "buf.yaml").read_text(encoding="utf-8")
    assert "use: [STANDARD, COMMENTS]" in lint
    assert "disallow_comment_ignores: true" in lint
    assert "buf lint" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_goldens_stay():
    """Files written by an earlier version are read by every later one; none is ever deleted."""
    kept = {path.name for path in (ROOT / "tests" / "golden").iterdir()}
    assert {"README.md", "musicnn_battle_15s.npz"} <= kept
