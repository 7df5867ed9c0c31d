"""The rooms: what they offer, what importing them costs, how they and their errors are named."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from types import ModuleType

import pytest
from repository_files import ROOMS, ROOT, source_files, syntax_tree

HEAVY = ("torch", "torchaudio", "transformers", "faiss", "lance", "pyarrow", "av", "soundfile", "implicit")


@pytest.mark.parametrize("room", [room for room in ROOMS if room not in ("grpc_service", "anacrusis")])
def test_the_public_list_is_what_the_room_offers(room: str):
    """Nothing public that is not listed, nothing listed that is not there; constants, classes, functions in order."""
    module = importlib.import_module(room)
    offered = {name for name, value in vars(module).items() if name[0] != "_" and not isinstance(value, ModuleType)} - {
        "annotations"
    }
    assert set(module.__all__) == offered
    assert module.__all__ == sorted(
        offered, key=lambda name: (0 if name.isupper() else 1 if name[0].isupper() else 2, name)
    )


@pytest.mark.parametrize("room", ["grpc_service", "anacrusis"])
def test_the_outer_rooms_offer_modules(room: str):
    """Their packages stay empty, so that the client and the command line load nothing they do not need."""
    body = syntax_tree(ROOT / room / "__init__.py").body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)  # the docstring


@pytest.mark.parametrize(
    ("imported", "forbidden"),
    [
        ("index", ("torch", "torchaudio", "transformers", "encoders", "artist_transfer", "jobs")),
        ("encoders", (*HEAVY, "index", "artist_transfer", "jobs")),
        ("artist_transfer", (*HEAVY, "index", "encoders", "jobs")),
        ("jobs", ("torch", "torchaudio", "transformers", "grpc", "anacrusis")),
        ("grpc_service.client", (*HEAVY, "jobs", "index", "encoders", "artist_transfer", "grpc_service.server")),
        ("grpc_service.probe", (*HEAVY, "numpy", "jobs", "index", "grpc_service.pb")),
        ("anacrusis.settings", (*HEAVY, "jobs", "index", "artist_transfer")),
    ],
)
def test_import_cost(imported: str, forbidden: tuple[str, ...]):
    assert _loaded(f"import {imported}", forbidden) == []


def test_help_is_quick():
    """Whoever asks what there is waits for neither torch nor FAISS nor Lance."""
    code = "import sys; sys.argv = ['anacrusis', '--help']\nfrom anacrusis.cli import app\napp(standalone_mode=False)"
    assert _loaded(code, (*HEAVY, "grpc_service.server")) == []


def _loaded(code: str, names: tuple[str, ...]) -> list[str]:
    """Run code in a process of its own and return those modules that it has loaded."""
    script = f"{code}\nimport sys\nprint('loaded:', *(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.rsplit("loaded:", 1)[1].split()


def test_files_are_named_for_what_is_in_them():
    vague = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}
    found = [path for path in source_files() if vague & set(path.stem.split("_"))]
    assert found == []


@pytest.mark.parametrize("room", ["encoders", "artist_transfer", "index", "jobs"])
def test_the_exception_tree_is_drawn(room: str):
    """Every exception of a room stands in the one docstring where people look for it."""
    tree = syntax_tree(ROOT / room / "errors.py")
    drawing = ast.get_docstring(tree) or ""
    missing = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.name not in drawing]
    assert missing == []
