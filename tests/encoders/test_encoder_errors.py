import inspect

import encoders
from encoders import errors


def classes():
    return [value for _, value in inspect.getmembers(errors, inspect.isclass)]


def test_the_tree_is_drawn_whole():
    for each in classes():
        assert each.__name__ in errors.__doc__
    drawn = [line for line in errors.__doc__.splitlines() if "-- " in line]
    reasons = {each.__name__: each.reason for each in classes()}
    for line in drawn:
        name, second, *_ = line.split("-- ")[1].split()
        assert reasons[name] == second or name == "AudioError"
    assert len(drawn) == len(reasons) - 1


def test_reasons_are_unique_and_upper_snake():
    reasons = [each.reason for each in classes()]
    assert len(set(reasons)) == len(reasons)
    assert all(reason.replace("_", "").isalpha() and reason.isupper() for reason in reasons)


def test_field_and_sentence():
    error = errors.NotAudioError("what: remedy")
    assert (str(error), error.reason, error.field) == ("what: remedy", "AUDIO_NOT_AUDIO", "audio")
    assert errors.InvalidOptionError("x", field="device").field == "device"


def test_public_list():
    assert sorted(encoders.__all__, key=str) == sorted(set(encoders.__all__))
    for name in encoders.__all__:
        assert hasattr(encoders, name)
    assert {each.__name__ for each in classes()} <= set(encoders.__all__)


def test_importing_the_room_stays_light():
    import subprocess
    import sys

    code = "import encoders, sys; print([m for m in ('torch', 'transformers', 'av') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
