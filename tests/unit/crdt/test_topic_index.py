"""Topics by number."""

import numpy as np

from crdt.topic_index import TopicIndex


def test_many_topics_come_and_go_and_leave_no_room_taken() -> None:
    """Numbers are used again, so that the table does not grow with what was."""
    topics = TopicIndex(rows=2001)
    rows = np.arange(1, 2001)
    for turn in range(5):
        words = np.array([turn << 40 | row // 2 for row in rows.tolist()], dtype=np.uint64)
        numbers = topics.add(rows, words)
        assert len(topics) == 1001
        assert sorted(topics.rows_of(turn << 40 | 7)) == [14, 15]
        topics.remove(rows, numbers)
        assert len(topics) == 0
    assert topics._used <= 1002


def test_one_row_at_a_time_is_the_same() -> None:
    """Known topic or new one."""
    topics = TopicIndex(rows=4)
    assert topics.add_one(1, 70) == topics.add_one(2, 70) != topics.add_one(3, 80)
    topics.reserve(100)
    topics.add_one(99, 80)
    assert (topics.rows_of(70), topics.rows_of(80), topics.rows_of(90)) == ([2, 1], [99, 3], [])
