"""Two zones in the simulated world: what the stories do not tell."""

from __future__ import annotations

import pytest

from presence_actors.client.events import Status, View
from presence_actors.core.ids import NodeName
from tests.simulation.world_stage import WorldStage
from tests.stories.stage import Person
from tests.stories.telling import all_online, of_kind, until_all

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


def homes(stage: WorldStage) -> set[NodeName | None]:
    """Where bert's gateway is attached."""
    return {one.worker for one in stage.world.gateway(0, "b").inspect().attachments}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_gateway_that_left_the_bridge_of_its_zone_is_not_doubted_by_the_other_zone(
    seed: int,
) -> None:
    """The bridge does not hear it any more, but another worker of its zone does, and that counts.

    ```
    b/g0     at b/w0, the bridge  -- x --  at b/w1 ............ the way to b/w0 stays cut
    a        bert is online .......................... still, beyond the lease and the grace
    ```
    """

    async def story() -> None:
        stage = WorldStage(seed=seed, zones=("a", "b"))
        alice = await stage.person("alice", gateway=0)
        anna = await stage.person("anna", gateway=1)
        bert = await stage.person("bert", gateway=0, zone="b")
        people: list[Person] = [alice, anna, bert]
        names = {person.name for person in people}
        for person in people:
            await person.join("lobby")
            await person.watch(*names - {person.name})
        await until_all(stage, people, "know everybody", lambda p: all_online(p, names))
        left, bridge = NodeName("b/g0"), NodeName("b/w0")
        assert homes(stage) == {bridge}
        before = {person.name: len(person.heard) for person in people}
        stage.world.cut([left], [bridge])
        knobs = stage.knobs
        await stage.elapse(knobs.gateway_lease_ms + knobs.grace_gateway_ms + 5_000)
        assert homes(stage) == {"b/w1"}
        await bert.set_status("away")
        await until_all(stage, [alice, anna], "see it", lambda p: p.status("bert") == "away")
        for person in (alice, anna):
            news = [one for one in person.heard[before[person.name] :] if isinstance(one, Status)]
            assert [one.status for one in news] == ["away"]
            views = [one for one in person.heard[before[person.name] :] if isinstance(one, View)]
            assert not [one for one in views if one.unreachable]

    with pytest.raises(StopIteration):
        story().__await__().__next__()
