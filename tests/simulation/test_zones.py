"""Two zones in the simulated world: what the stories do not tell."""

from __future__ import annotations

import pytest

from presence_actors.client.events import View
from tests.simulation.world_stage import WorldStage
from tests.stories.stage import Person
from tests.stories.telling import of_kind, until_all

pytestmark = pytest.mark.simulation


def inside(person: Person) -> set[str]:
    """Whom the person sees in the lobby."""
    return set(person.who("lobby"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_zone_that_was_retired_by_mistake_is_back_when_it_is_restored(seed: int) -> None:
    """It lives, so its gateways refute what was ended in their place; its own people saw nothing.

    zone a   alice   ...  retire b: bert leaves  ...  restore b: bert is back
    zone b   bert    ...  alice is unreachable   ...  all is well
    """

    async def story() -> None:
        stage = WorldStage(seed=seed, zones=("a", "b"))
        alice = await stage.person("alice", gateway=0)
        bert = await stage.person("bert", gateway=0, zone="b")
        people: list[Person] = [alice, bert]
        for person in people:
            await person.join("lobby")
        await until_all(stage, people, "see both", lambda p: inside(p) == {"alice", "bert"})
        await stage.retire_zone("b")
        await until_all(stage, [alice], "sees bert leave", lambda p: inside(p) == {"alice"})
        await stage.elapse(5_000)
        assert inside(bert) == {"alice", "bert"}
        stage.world.restore("b")
        await until_all(stage, people, "see both", lambda p: inside(p) == {"alice", "bert"})
        await until_all(
            stage, people, "see all there is", lambda p: of_kind(p, View)[-1].quality == "complete"
        )
        await stage.elapse(1_000)
        assert await stage.replicas_agree()

    with pytest.raises(StopIteration):
        story().__await__().__next__()
