"""A worker: one process with the replicas of several shards."""

import asyncio

from crdt import KeyHasher
from presence_actors.actors.directory import Description, Directory, Inspection, Seat
from presence_actors.actors.place import is_restarted, link_host, ray_node
from presence_actors.actors.process import Process, end_process, end_with, log_to_stderr
from presence_actors.actors.settings import Settings
from presence_actors.core.effects import Dial, Notify, Report, Send, WorkerEffect
from presence_actors.core.events import DeadlineReached, WorkerEvent
from presence_actors.core.worker import WorkerMachine
from presence_actors.edge.webhooks import WebhookSender
from presence_actors.runtime.host import MachineHost


class ReplicaActor:
    """Hosts a `WorkerMachine`. Starts by itself, also when Ray restarts it."""

    def __init__(self, seat: Seat, settings: Settings, *, first: bool) -> None:
        log_to_stderr()
        config = settings.config
        self._process = Process(
            seat=seat, settings=settings, ray_node=ray_node(), link_host=link_host(config)
        )
        machine = WorkerMachine(
            self._process.node,
            shards=config.shards,
            replicas=config.replicas,
            knobs=config.knobs,
            hasher=KeyHasher.derived_from(settings.link_secret.value),
            # A zone that joins others has something to learn before it may speak of absence.
            first=first and not is_restarted() and not config.join,
            now=self._process.born,
            speaks=bool(config.webhook),
        )
        host: MachineHost[WorkerEvent, WorkerEffect] = MachineHost(
            machine,
            carry_out=self._carry_out,
            deadline_reached=DeadlineReached(),
            on_broken=end_process,
            name=self._process.node,
        )
        key = settings.webhook_key
        self._webhooks = (
            None if key is None else WebhookSender(config.webhook, key.value, answered=host.post)
        )
        self._process.drive(host, machine.inspect)
        self._starting = asyncio.get_running_loop().create_task(self._process.start())
        end_with(self._starting)

    def _carry_out(self, effect: WorkerEffect) -> None:
        match effect:
            case Send(to=to, messages=messages):
                self._process.send(to, messages)
            case Report():
                self._process.report(effect)
            case Dial():
                self._process.dial(effect)
            case Notify() if self._webhooks is not None:
                self._webhooks.send(effect)
            case Notify():
                pass

    async def describe(self) -> Description:
        """Who, where, and whether anything is wrong."""
        return self._process.describe()

    async def directory(self) -> Directory:
        """The directory that is in force here."""
        return self._process.directory()

    async def set_directory(self, directory: Directory) -> int:
        """Take a newer directory; the version in force."""
        return self._process.set_directory(directory)

    async def inspect(self) -> Inspection:
        """A picture for people."""
        return self._process.inspect()
