"""Acts of app servers: how they name things."""

from presence_actors.core.acts import Publish, carried_session
from presence_actors.core.ids import UserId


def test_a_device_that_posts_cannot_take_the_session_of_one_with_a_socket() -> None:
    """Their ids never meet, whatever it calls itself."""
    assert carried_session("s1") != "s1"
    assert carried_session("s1") == carried_session("s1") != carried_session("s2")


def test_rooms_are_those_of_the_tenant_of_whoever_asks() -> None:
    """The namespace comes from the token, never from the request."""
    publish = Publish(
        UserId("alice"), carried_session("x"), "online", "web", {"room:a": {"b": 1}}, 60_000
    )
    assert publish.topics("shop") == {"shop/room:a": {"b": 1}}
