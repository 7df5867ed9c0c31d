"""A few of the cases of ``make fuzz``, and every one that once found something."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from encoders import DecodingPool
from tests.fuzz import audio_cases, file_cases
from tests.fuzz.mutations import CHANGES, MOST_BYTES, mutated

REGRESSIONS = Path(__file__).parent / "regressions"


def test_some_audio(tmp_path: Path) -> None:
    findings = audio_cases.fuzz_audio(1, 60, tmp_path)
    assert findings.sentences == []
    assert findings.cases == 60
    assert len(findings.outcomes) > 3, "the mutations have become too mild or too wild"
    assert set(findings.kinds) == set(audio_cases.sources())


def test_some_files(tmp_path: Path) -> None:
    findings = file_cases.fuzz_files(1, 0, 160, tmp_path)
    assert findings.sentences == []
    assert set(findings.outcomes) == {"read", "refused"}
    assert set(findings.kinds) == set(file_cases.sources())
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(file_cases, "READERS", dict.fromkeys(file_cases.READERS, (broken, ValueError)))
    findings = file_cases.fuzz_files(1, 0, 8, tmp_path)
    assert len(findings.sentences) == findings.outcomes["found"] == 8
    assert "LookupError: a bug" in findings.sentences[0]
    assert len(list(tmp_path.glob("*.bin"))) == 8


@pytest.mark.parametrize("name", sorted(file_cases.sources()))
def test_what_is_mutated_can_be_read_before(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(file_cases.sources()[name])
    assert file_cases.outcome_of(tmp_path / name) == "read"


def test_cases_follow_from_the_seed() -> None:
    for make in (audio_cases.case, file_cases.case):
        assert make(1, 7) == make(1, 7)
        assert [make(1, number) for number in range(20)] != [make(2, number) for number in range(20)]


@pytest.mark.parametrize("change", CHANGES)
def test_mutations_take_any_bytes(change) -> None:
    rng = random.Random(0)
    for data in (b"", b"x", bytes(range(256)) * 40):
        assert isinstance(change(rng, bytearray(data), [b"", b"other"]), bytearray)
    assert all(len(mutated(rng, bytes(MOST_BYTES), [b"other"])) <= MOST_BYTES for _ in range(20))


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("audio-*")), ids=lambda path: path.name)
def test_audio_that_once_found_something(path: Path) -> None:
    with DecodingPool(audio_cases.LIMITS) as pool:
        assert audio_cases.outcome_of(pool, path.read_bytes())


@pytest.mark.parametrize(
    "path",
    sorted(path for path in REGRESSIONS.iterdir() if path.name.split(".")[0] in file_cases.READERS),
    ids=lambda path: path.name,
)
def test_a_file_that_once_found_something(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name.split("-")[0]
    copy.write_bytes(path.read_bytes())
    assert file_cases.outcome_of(copy)
