"""Settings of examples/service: flags go before the environment, the environment before what is usual."""

import pytest

from tests.service.support import settings


def test_flags_environment_defaults(monkeypatch):
    monkeypatch.setenv("VAD_MAX_SESSIONS", "7")
    monkeypatch.setenv("VAD_WINDOW_MS", "2.5")
    made = settings.read(["--max-sessions", "9"])
    assert (made.max_sessions, made.window_ms, made.port) == (9, 2.5, 8765)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_numbers_are_above_zero(capsys, value):
    with pytest.raises(SystemExit) as stopped:
        settings.read(["--idle-seconds", value])
    assert stopped.value.code == 2
    assert "idle-seconds: expected a number above 0" in capsys.readouterr().err


def test_an_environment_that_is_no_number_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("VAD_PORT", "http")
    with pytest.raises(SystemExit):
        settings.read([])
    assert "--port: invalid int value: 'http'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [("port", "65536"), ("max-message", "262145"), ("ping-seconds", "3e6"), ("max-sessions", "10000000000")],
)
def test_numbers_have_an_upper_end(capsys, flag, value):
    with pytest.raises(SystemExit) as stopped:
        settings.read([f"--{flag}", value])
    assert stopped.value.code == 2
    assert f"{flag}: expected a number above 0" in capsys.readouterr().err
