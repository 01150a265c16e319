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
