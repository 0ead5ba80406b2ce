"""Progress: on standard error only, silent at first, plain lines or a bar."""

from __future__ import annotations

import io

import pytest

from netassay import progress
from netassay.progress import steps, track


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def advanced(clock, seconds, total, note=""):
    with steps("train", total) as advance:
        for _ in range(3):
            clock[0] += seconds
            advance(note)


def test_what_is_quick_says_nothing(clock, capsys):
    """In the first two seconds nothing is printed."""
    advanced(clock, 0.6, 3)
    assert capsys.readouterr() == ("", "")


def test_what_takes_time_says_how_much_is_left(clock, capsys):
    """A plain line with the share done, the seconds left and the note, where standard error is no terminal."""
    advanced(clock, 2.0, 4, "loss 0.5")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "train: 1/4, 6 s left - loss 0.5\n"


def test_lines_come_every_five_seconds(clock, capsys):
    """Not at every step: a log stays readable."""
    advanced(clock, 3.0, None)
    assert capsys.readouterr().err.splitlines() == ["train: 1", "train: 3"]


def test_items_pass_through_as_they_are(clock, capsys):
    """Tracking yields each item once, in order, lazily, and counts them."""
    taken = []

    def slow():
        for i in range(3):
            clock[0] += 6
            taken.append(i)
            yield i

    passing = track(slow(), "sweep", 3)
    assert (next(passing), taken) == (0, [0])
    assert list(passing) == [1, 2]
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "sweep: 1/3",
        "sweep: 2/3",
        "sweep: 3/3",
    ]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_that_is_wiped(clock, capsys, monkeypatch):
    """On a terminal there is a bar on standard error after two seconds, and none for what is quick."""
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.sys, "stderr", shown)
    advanced(clock, 0.5, 3)
    assert shown.getvalue() == ""
    advanced(clock, 5.0, 3, "loss 0.5")
    assert "train" in shown.getvalue()
    assert "3/3" in shown.getvalue()
    assert shown.getvalue().rindex("\x1b[1A\x1b[2K") > shown.getvalue().rindex("3/3")
    assert capsys.readouterr().out == ""


def test_an_error_inside_passes_through_and_ends_the_bar(clock, monkeypatch):
    """What is raised while a bar is up comes out, and the cursor is back."""
    shown = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress.sys, "stderr", shown)
    with pytest.raises(KeyError), steps("train", 2) as advance:  # noqa: PT012
        clock[0] += 5
        advance("")
        raise KeyError
    assert shown.getvalue().rindex("\x1b[?25h") > shown.getvalue().rindex("\x1b[?25l")


def test_what_is_hushed_says_nothing(clock, capsys):
    """Inside `hushed` nothing is shown, however long it takes; afterwards as before."""
    with progress.hushed():
        advanced(clock, 2.0, 4)
    assert capsys.readouterr() == ("", "")
    advanced(clock, 2.0, 4)
    assert capsys.readouterr().err
