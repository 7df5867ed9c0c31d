"""What gets installed: the packages, their data, and versions that agree with each other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from repository_files import ROOMS, ROOT, pyproject, repository_files


def test_every_package_on_disk_is_listed():
    listed = pyproject()["tool"]["setuptools"]["packages"]
    on_disk = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in repository_files()
        if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] in ROOMS
    }
    assert sorted(listed) == sorted(on_disk)


def test_data_and_types_are_installed_with_the_code():
    """By setuptools' own reading of pyproject.toml, without building anything."""
    script = """
import json, warnings
warnings.simplefilter("ignore")
from setuptools import Distribution
distribution = Distribution()
distribution.parse_config_files(["pyproject.toml"])
distribution.include_package_data = False  # what stands in a folder by chance does not count
command = distribution.get_command_obj("build_py")
command.ensure_finalized()
print(json.dumps([f"{folder}/{name}" for _, folder, _, names in command.data_files for name in names]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    installed = set(json.loads(done.stdout))
    assert _needed() - installed == set()


@pytest.mark.slow
def test_a_built_wheel_holds_everything(tmp_path: Path):
    """From a copy, so that the build leaves nothing behind in the repository."""
    for path in repository_files():
        target = tmp_path / "source" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    subprocess.run([*command, tmp_path / "source"], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("anacrusis-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = archive.read(next(name for name in names if name.endswith("/entry_points.txt"))).decode()
    assert _needed() - names == set()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(ROOMS)
    assert sum("/licenses/" in name and not name.endswith("/") for name in names) == 3
    assert "anacrusis = anacrusis.cli:main" in scripts


def _needed() -> set[str]:
    """Everything below the rooms that is no Python and no generated code: weights, music, licences, type marks."""
    needed = {
        str(path.relative_to(ROOT))
        for path in repository_files()
        if path.relative_to(ROOT).parts[0] in ROOMS and path.suffix not in (".py", ".pyi")
    }
    assert {"encoders/weights/LICENSE.md", "anacrusis/wesnoth/LICENSE.md", "anacrusis/wesnoth/playlists.csv"} <= needed
    assert {f"{room}/py.typed" for room in ROOMS} <= needed
    assert sum(name.endswith(".safetensors") for name in needed) == 2
    assert sum(name.endswith(".ogg") for name in needed) == 36
    return needed


def test_the_constraints_fit_the_requirements():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[_normal(name)] = version
    project = pyproject()["project"]
    wanted = [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]
    for requirement in map(Requirement, wanted):
        assert pins[_normal(requirement.name)] in requirement.specifier, requirement


def test_what_shares_a_format_is_pinned_exactly():
    """Torch and torchaudio share an ABI, the others a file or wire format with what was written before."""
    exact = {
        _normal(requirement.name)
        for requirement in map(Requirement, pyproject()["project"]["dependencies"])
        if any(one.operator == "==" and "*" not in one.version for one in requirement.specifier)
    }
    assert {"torch", "torchaudio", "faiss-gpu", "pylance", "pyarrow", "grpcio", "numpy"} <= exact


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
