"""Generate ``grpc_service/pb`` from ``proto/``: ``python -m grpc_service.generate [--check]``.

protoc derives Python imports from the proto files' import lines. Ours say ``anacrusis/v1/common.proto``, as every
other language wants it, which would come out as ``from anacrusis.v1 import common_pb2``: the front door's package.
So the proto files are laid out in a temporary folder under ``grpc_service/pb/`` with import lines to match, and the
generated code needs no patching.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = "grpc_service/pb"
_OWN_IMPORT = re.compile(r'^(import ")(anacrusis/)', re.MULTILINE)
_INIT = '"""Generated from proto/ by `make proto`; do not edit."""\n'


def generate(out: Path) -> list[Path]:
    """Generate the Python code of every proto file.

    Parameters
    ----------
    out : Path
        Folder that stands for the repository root: code goes to ``out/grpc_service/pb``.

    Returns
    -------
    list of Path
        The files written, relative to ``out``, sorted.

    Raises
    ------
    RuntimeError
        When protoc refuses a proto file; protoc has printed why.
    """
    from google.rpc import status_pb2
    from grpc_tools import protoc  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        sources = []
        for proto in sorted(PROTO.rglob("*.proto")):
            target = staged / PACKAGE / proto.relative_to(PROTO)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = proto.read_text(encoding="utf-8")
            target.write_text(_OWN_IMPORT.sub(rf"\1{PACKAGE}/\2", text), encoding="utf-8")
            sources.append(target)
        includes = [staged, files("grpc_tools") / "_proto", Path(status_pb2.__file__).parents[2]]
        status = protoc.main(
            [
                "protoc",
                *(f"--proto_path={include}" for include in includes),
                f"--python_out={out}",
                f"--pyi_out={out}",
                f"--grpc_python_out={out}",
                *(str(source) for source in sources),
            ]
        )
    if status != 0:
        raise RuntimeError(f"protoc ended with status {status}.")
    for package in {path.parent for path in (out / PACKAGE).rglob("*_pb2.py")}:
        for level in (package, *package.parents):
            (level / "__init__.py").write_text(_INIT, encoding="utf-8")
            if level == out / PACKAGE:
                break
    return sorted(path.relative_to(out) for path in (out / PACKAGE).rglob("*.py*") if path.suffix in {".py", ".pyi"})


def stale_files() -> list[str]:
    """Compare the committed code with what would be generated now.

    Returns
    -------
    list of str
        Paths that differ, are missing, or should not be there; empty when the code is current.
    """
    with tempfile.TemporaryDirectory() as folder:
        fresh = set(generate(Path(folder)))
        committed = {
            path.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("*.py*") if path.suffix in {".py", ".pyi"}
        }
        stale = fresh ^ committed
        stale |= {
            path for path in fresh & committed if not filecmp.cmp(Path(folder) / path, ROOT / path, shallow=False)
        }
    return sorted(str(path) for path in stale)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: ``sys.argv``.

    Returns
    -------
    int
        0 when done or current, 1 when the committed code is stale.
    """
    parser = argparse.ArgumentParser(prog="python -m grpc_service.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when the code is not current")
    if parser.parse_args(arguments).check:
        stale = stale_files()
        for name in stale:
            print(f"{name} is not what proto/ says; run: make proto", file=sys.stderr)
        return 1 if stale else 0
    for path in generate(ROOT):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
