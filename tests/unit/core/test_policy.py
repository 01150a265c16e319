"""Scopes: which words count."""

from presence_actors.core.policy import Scope, known_scopes


def test_scopes_come_once_and_in_one_order() -> None:
    """Equal rights are equal values, however a token spells them."""
    words = ["presence:kick", "presence:read", "presence:kick"]
    assert known_scopes(words) == known_scopes(reversed(words)) == (Scope.READ, Scope.KICK)


def test_a_word_that_is_no_scope_of_ours_gives_no_right() -> None:
    """One token may be good for several servers; nothing is guessed from what looks alike."""
    words = ["presence", "presence:", "presence:*", "PRESENCE:KICK", "kick", "mail:send", ""]
    assert known_scopes(words) == ()
