"""Ends of command lines."""

from __future__ import annotations

import pytest

from fbnetv5.base.errors import InputError, one_line_errors


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (InputError("there is no file a"), 1, "error: there is no file a\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; --resume goes on\n"),
    ],
)
def test_a_command_line_ends_in_one_line(raised, status, line, capsys):
    @one_line_errors("--resume goes on")
    def command() -> None:
        raise raised

    for _ in range(2):  # a decorated function can be called again
        with pytest.raises(SystemExit) as ended:
            command()
        assert ended.value.code == status
        assert capsys.readouterr().err == line


def test_other_errors_are_not_hidden():
    with pytest.raises(ValueError, match="a fault of the program"), one_line_errors():
        raise ValueError("a fault of the program")
