"""What `presence status` shows."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping

from rich.table import Table

from presence_actors.actors.directory import Inspection
from presence_actors.core.ids import ZoneId, short_name, zone_of
from presence_actors.core.views import DeadNotice, GatewayView, PeerLag, WorkerView, zone_lags


def tables_of(
    pictures: Mapping[str, Inspection | None], retired: Iterable[str] = ()
) -> Iterator[Table]:
    """One table each for workers, gateways and links; for other zones and faults if there are any.

    Args:
        pictures: What the actors say.
        retired: Zones that were given up.
    """
    yield _workers(pictures)
    yield _gateways(pictures)
    zones = _zones(pictures, retired)
    if zones.row_count:
        yield zones
    yield _links(pictures)
    faults = sorted(
        {
            (fault.source, fault.target, fault.kind, fault.delay_ms, fault.loss)
            for picture in pictures.values()
            if picture is not None
            for fault in picture.faults
        }
    )
    if faults:
        table = _table("faults", "from", "to", "what")
        for source, target, kind, delay_ms, loss in faults:
            what = {"cut": "cut", "delay": f"delay {delay_ms} ms", "loss": f"loss {loss:.1%}"}
            table.add_row(source, target, what[kind])
        yield table


def _workers(pictures: Mapping[str, Inspection | None]) -> Table:
    table = _table(
        "workers",
        "actor",
        "life",
        "shards",
        "ready",
        "entries",
        "ends kept",
        "lives known",
        "lag per peer",
    )
    for name, picture in pictures.items():
        if not name.startswith("worker"):
            continue
        if picture is None or not isinstance(picture.view, WorkerView):
            table.add_row(name, "[red]no answer")
            continue
        replicas = picture.view.replicas
        ready = sum(replica.ready for replica in replicas)
        table.add_row(
            name,
            short_name(picture.view.node),
            _ranges([int(replica.shard) for replica in replicas]),
            f"{ready}/{len(replicas)}",
            str(sum(replica.entries for replica in replicas)),
            str(sum(replica.rows - replica.entries for replica in replicas)),
            str(max((replica.origins for replica in replicas), default=0)),
            _lags(picture.view),
        )
    return table


def _gateways(pictures: Mapping[str, Inspection | None]) -> Table:
    columns = ("actor", "life", "url", "ready", "connections", "sessions", "subscriptions")
    table = _table("gateways", *columns, "attached")
    for name, picture in pictures.items():
        if not name.startswith("gateway"):
            continue
        if picture is None or not isinstance(picture.view, GatewayView):
            table.add_row(name, "[red]no answer")
            continue
        view = picture.view
        attached = sum(attachment.attached for attachment in view.attachments)
        table.add_row(
            name,
            short_name(view.node),
            picture.description.url or picture.description.trouble or "",
            "yes" if view.ready else "[yellow]no",
            str(view.connections),
            str(view.sessions),
            str(view.subscriptions),
            f"{attached}/{len(view.attachments)}",
        )
    return table


def _zones(pictures: Mapping[str, Inspection | None], retired: Iterable[str]) -> Table:
    """The other zones: the links there are, and how old the newest word of any shard is at most."""
    links: dict[ZoneId, list[bool]] = {}
    shards: list[list[PeerLag]] = []
    lags: dict[ZoneId, int | None] = {}
    for picture in pictures.values():
        if picture is None or not isinstance(picture.view, WorkerView):
            continue
        own = zone_of(picture.view.node)
        shards.extend(replica.peers for replica in picture.view.replicas)
        lags = zone_lags(own, shards)
        for link in picture.links:
            if zone_of(link.name) != own:
                links.setdefault(zone_of(link.name), []).append(link.open)
    table = _table("other zones", "zone", "links open", "lag")
    for zone in sorted({*lags, *links, *(ZoneId(one) for one in retired)}):
        is_open = links.get(zone, [])
        lag = lags.get(zone)
        heard = "[yellow]unheard" if lag is None else f"{lag} ms"
        table.add_row(
            zone, f"{sum(is_open)}/{len(is_open)}", "retired" if zone in retired else heard
        )
    return table


def webhook_tables_of(pictures: Mapping[str, Inspection | None]) -> list[Table]:
    """What each worker has told app servers, and notices that were given up, oldest first."""
    workers = _table("webhooks", "worker", "waiting", "taken", "failed attempts", "dead")
    dead = _table("dead", "when", "user", "status", "why", "id")
    found: list[DeadNotice] = []
    for name, picture in pictures.items():
        if picture is None or not isinstance(picture.view, WorkerView):
            continue
        views = [one.notices for one in picture.view.replicas if one.notices is not None]
        counts = [
            sum(view.waiting for view in views),
            sum(view.sent for view in views),
            sum(view.failed for view in views),
            sum(view.dead_total for view in views),
        ]
        workers.add_row(name, *map(str, counts))
        found += [notice for view in views for notice in view.dead]
    for notice in sorted(found, key=lambda one: (one.at, one.id)):
        when = dt.datetime.fromtimestamp(notice.at / 1_000, dt.UTC)
        dead.add_row(
            f"{when:%Y-%m-%d %H:%M:%S}",
            f"{notice.namespace}/{notice.user}",
            notice.status,
            notice.reason,
            notice.id,
        )
    return [workers, dead] if found else [workers]


def _links(pictures: Mapping[str, Inspection | None]) -> Table:
    columns = ("actor", "peer", "open", "round trip", "in", "out", "dropped", "trouble")
    table = _table("links", *columns)
    for name, picture in pictures.items():
        for link in [] if picture is None else picture.links:
            table.add_row(
                name,
                short_name(link.node) if link.node else link.name,
                "yes" if link.open else "[red]no",
                "" if link.rtt_ms is None else f"{link.rtt_ms} ms",
                _size(link.bytes_in),
                _size(link.bytes_out),
                str(link.dropped),
                "" if link.open else link.trouble or "",
            )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _lags(view: WorkerView) -> str:
    """The greatest lag of each peer over all common shards."""
    lags: dict[str, int | None] = {}
    for replica in view.replicas:
        for peer in replica.peers:
            known = lags.get(peer.name, 0)
            unheard = known is None or peer.lag_ms is None
            lags[peer.name] = None if unheard else max(known or 0, peer.lag_ms or 0)
    return ", ".join(
        f"{name} {'unheard' if lag is None else f'{lag} ms'}" for name, lag in sorted(lags.items())
    )


def _ranges(numbers: list[int]) -> str:
    """Numbers for people: 0-3 5 7-8."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return " ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB"):
        if size < 1000:  # noqa: PLR2004  # the step of the units
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
