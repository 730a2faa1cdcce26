"""The lines that a trial prints, as a report carries them."""

from contextlib import redirect_stdout

import pytest

from search.worker.printed import MAX_CHARACTERS, MAX_LINES, PrintedLines


@pytest.fixture
def printed():
    return PrintedLines()


def test_lines_are_taken_once_in_their_order(printed):
    with redirect_stdout(printed):
        print("one", 1)
        print("two\nthree")
    assert printed.take() == ["one 1", "two", "three"]
    assert printed.take() == []


def test_an_unfinished_line_waits_for_its_end_or_that_of_the_trial(printed):
    with redirect_stdout(printed):
        print("half", end="")
        assert printed.take() == []
        print(" and half")
        assert printed.take() == ["half and half"]
        print("rest", end="")
    assert printed.take_rest() == ["rest"]
    assert printed.take_rest() == []


def test_of_many_lines_the_first_are_taken_and_the_others_counted(printed):
    with redirect_stdout(printed):
        for number in range(MAX_LINES + 3):
            print(number)
    assert printed.take() == [*map(str, range(MAX_LINES)), "... 3 more lines"]
    with redirect_stdout(printed):
        for number in range(MAX_LINES):
            print(number)
    assert printed.take() == [*map(str, range(MAX_LINES))]


@pytest.mark.parametrize("pieces", [1, 2], ids=["at once", "in pieces"])
def test_a_long_line_is_cut(printed, pieces):
    with redirect_stdout(printed):
        for _ in range(pieces):
            print("x" * MAX_CHARACTERS, end="y" if pieces > 1 else "")
        print()
        print("x" * MAX_CHARACTERS)
    first, second = printed.take()
    assert first == "x" * MAX_CHARACTERS + ("..." if pieces > 1 else "")
    assert second == "x" * MAX_CHARACTERS


def test_a_line_that_rewrites_itself_is_taken_as_it_ends(printed):
    with redirect_stdout(printed):
        print("10 %\r50 %\r100 %\r")
    assert printed.take() == ["100 %"]
