"""Numbers for names."""

from crdt.names import Names


def test_a_name_that_was_forgotten_gives_its_number_to_the_next() -> None:
    """And is unknown; nobody's number stays nobody's."""
    names = Names[str]("")
    first, second = names.number("a"), names.number("b")
    names.forget(first)
    assert (names.find("a"), names[first], list(names)) == (0, "", ["b"])
    assert names.number("c") == first
    assert (names[0], names[second], len(names)) == ("", "b", 3)


def test_numbers_are_given_to_many_names_at_once() -> None:
    """To those that have none, and it is said which; nobody's stays 0."""
    names = Names[str]("")
    names.number("a")
    assert names.numbers(["b", "", "a", "c"]) == ([2, 0, 1, 3], [2, 3])
    assert names.numbers(["c", "b"]) == ([3, 2], [])
