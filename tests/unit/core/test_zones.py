"""What a worker knows of zones, and whom it dials."""

from __future__ import annotations

import pytest

from presence_actors.core.events import ClusterChanged
from presence_actors.core.ids import NodeId, NodeName, ZoneId
from presence_actors.core.messages import Worker, ZoneReport
from presence_actors.core.zones import ZoneBook

A, B, C = ZoneId("a"), ZoneId("b"), ZoneId("c")


def workers_of(zone: str, *ports: int) -> list[Worker]:
    """Workers of a zone, whose links listen at these ports."""
    return [
        Worker(NodeName(f"{zone}/w{index}"), "ray-node", ("127.0.0.1", port))
        for index, port in enumerate(ports)
    ]


def book_of(node: str, *reports: ZoneReport, retired: tuple[ZoneId, ...] = ()) -> ZoneBook:
    """The book of a worker whose own zone has two, and that was told this."""
    book = ZoneBook(NodeId(node))
    zone = node.partition("/")[0]
    book.note_cluster(ClusterChanged(workers_of(zone, 1, 2), version=1, retired=list(retired)))
    for report in reports:
        book.note_report(report)
    return book


OF_A = ZoneReport(A, 5, workers_of("a", 11, 12))
OF_B = ZoneReport(B, 5, workers_of("b", 21, 22))
OF_C = ZoneReport(C, 5, workers_of("c", 31))


def test_of_two_reports_of_a_zone_the_newer_one_counts() -> None:
    """In whatever order they come; what is known already is no news."""
    newer = ZoneReport(B, 6, workers_of("b", 23))
    book = book_of("a/w0/01")
    assert book.note_report(OF_B)
    assert not book.note_report(OF_B)
    assert book.note_report(newer)
    assert not book.note_report(OF_B)
    assert dict(book.others()) == {B: newer.workers}


def test_of_our_own_zone_nobody_knows_better() -> None:
    """Somebody may repeat what was true once, or what another cluster of that name said."""
    book = book_of("a/w0/01")
    assert not book.note_report(ZoneReport(A, 99, workers_of("a", 99)))
    assert book.reports() == [ZoneReport(A, 1, workers_of("a", 1, 2))]


def test_our_own_zone_is_told_with_all_others() -> None:
    """So that a third zone needs the address of one worker anywhere."""
    book = book_of("b/w0/01", OF_C, OF_A)
    assert book.reports() == [OF_A, ZoneReport(B, 1, workers_of("b", 1, 2)), OF_C]


def test_an_unchanged_cluster_is_no_news() -> None:
    """A directory is told again and again."""
    book = ZoneBook(NodeId("a/w0/01"))
    event = ClusterChanged(workers_of("a", 1), version=7)
    assert book.note_cluster(event)
    assert not book.note_cluster(event)


@pytest.mark.parametrize(
    ("node", "dialled"),
    [
        ("a/w1/01", {"b/w0": ("127.0.0.1", 21), "b/w1": ("127.0.0.1", 22)}),
        ("c/w0/01", {}),
    ],
)
def test_of_two_zones_the_smaller_name_dials(
    node: str, dialled: dict[str, tuple[str, int]]
) -> None:
    """One link for each pair, whichever of the two has joined the other."""
    assert book_of(node, OF_B).targets == dialled


def test_a_worker_that_moved_is_dialled_where_it_is_now() -> None:
    """Its zone has told a newer report."""
    book = book_of("a/w0/01", OF_B, ZoneReport(B, 6, workers_of("b", 29, 22)))
    assert book.targets[NodeName("b/w0")] == ("127.0.0.1", 29)


def test_a_worker_without_an_address_is_not_dialled() -> None:
    """It does not listen yet."""
    report = ZoneReport(B, 5, [Worker(NodeName("b/w0"), "ray-node")])
    assert book_of("a/w0/01", report).targets == {}


def test_a_retired_zone_is_neither_dialled_nor_counted_until_it_is_restored() -> None:
    """What is known of it is kept, and passed on."""
    book = book_of("a/w0/01", OF_B, OF_C, retired=(B,))
    assert [zone for zone, _ in book.others()] == [C]
    assert list(book.targets) == ["c/w0"]
    assert book.retired == [B]
    assert OF_B in book.reports()
    book.note_cluster(ClusterChanged(workers_of("a", 1, 2), version=2))
    assert [zone for zone, _ in book.others()] == [B, C]


def test_news_go_to_everybody_but_their_bearer_and_ourselves() -> None:
    """Of our zone and of others: whoever has heard it already passes nothing on."""
    book = book_of("a/w0/01", OF_B, OF_C)
    assert book.neighbours(NodeId("b/w1/01")) == ["a/w1", "b/w0", "c/w0"]


def test_who_is_of_another_zone_is_told_by_the_name() -> None:
    """A zone is the first part of it."""
    book = book_of("a/w0/01")
    assert book.is_foreign(NodeId("b/w0/01"))
    assert not book.is_foreign(NodeId("a/w1/01"))
