"""How our classes become Ray actors: names, lifetimes, resources, places. The only `ray.remote`."""

from typing import TYPE_CHECKING, Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from presence_actors.actors.directory import SUPERVISOR, Role, Seat
from presence_actors.actors.settings import Settings, namespace_of

if TYPE_CHECKING:
    from ray.actor import ActorHandle

#: Actors mostly wait. Not 0: Ray then ignores soft affinity.
_CPUS: Final = 0.01


def create_actor(seat: Seat, settings: Settings, *, first: bool) -> "ActorHandle[Any]":
    """The actor at a seat, created if there is none.

    Args:
        seat: Which place.
        settings: What the cluster is like.
        first: Whether this is the very first life at this seat, which has nobody to learn from.
    """
    options = _options(seat.actor_name, settings)
    nodes = sorted(node["NodeID"] for node in _ray_nodes() if node["Alive"])
    if len(nodes) > 1:
        # Seat by seat over the machines, so that two replicas seldom meet on one. Soft: where a
        # machine is lost for good, the actor moves.
        node = nodes[seat.index % len(nodes)]
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=True)
    return _create(_class_of(seat.role), options, seat, settings, first=first)


def create_supervisor(settings: Settings) -> "ActorHandle[Any]":
    """The supervisor of a cluster, created if there is none."""
    from presence_actors.actors.supervisor import SupervisorActor  # noqa: PLC0415

    return _create(SupervisorActor, _options(SUPERVISOR, settings), settings, create_actor)


def find_actor(name: str, zone: str) -> "ActorHandle[Any]":
    """The actor with this name.

    Raises:
        ValueError: There is none.
    """
    return ray.get_actor(name, namespace=namespace_of(zone))


def _class_of(role: Role) -> type:
    # Imported late: each process needs only the class of its own seat.
    if role == "worker":
        from presence_actors.actors.replica import ReplicaActor  # noqa: PLC0415

        return ReplicaActor
    from presence_actors.actors.gateway import GatewayActor  # noqa: PLC0415

    return GatewayActor


def _create(
    kind: type, options: dict[str, Any], *arguments: object, **named: object
) -> "ActorHandle[Any]":
    remote: Any = ray.remote(kind)
    handle: ActorHandle[Any] = remote.options(**options).remote(*arguments, **named)
    return handle


def _ray_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ships no types
    return nodes


def _options(name: str, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace_of(settings.config.zone),
        "get_if_exists": True,
        "lifetime": "detached",
        "max_restarts": -1,
        # A call that was lost is not repeated behind our back: callers have time-outs of their own.
        "max_task_retries": 0,
        "num_cpus": _CPUS,
    }
