"""Everything has a limit; beside each stands what happens there."""

from __future__ import annotations

from typing import Final

__all__ = [
    "ACTS_WAITING_MAX",
    "BAD_FRAMES_MAX",
    "BROADCASTS_PER_SECOND_MAX",
    "BROADCAST_BYTES_PER_SECOND_MAX",
    "BROADCAST_DEPTH_MAX",
    "CARRIED_LEASE_MS_MAX",
    "CARRIED_LEASE_MS_MIN",
    "CARRIED_PER_USER_MAX",
    "CLIENT_FRAME_BYTES_MAX",
    "DEAD_NOTICES_MAX",
    "DEVICE_CHARACTERS_MAX",
    "DROPPED_ROWS_MAX",
    "EMOJI_CHARACTERS_MAX",
    "ENTRIES_PER_PART_MAX",
    "EVENT_ID_CHARACTERS_MAX",
    "GOSSIP_ROWS_MAX",
    "GUEST_LEASE_MS_MIN",
    "ID_CHARACTERS_MAX",
    "LAG_BRIEF_MS",
    "LAG_MEMORY_MS",
    "LAG_MS_MAX",
    "LAG_STATE_MS",
    "META_BYTES_MAX",
    "META_DEPTH_MAX",
    "NOTICES_FLYING_MAX",
    "NOTICE_ANSWER_MS_MAX",
    "NOTICE_ATTEMPTS_MAX",
    "NOTICE_RETRY_MS_MAX",
    "NOTICE_RETRY_MS_MIN",
    "PASSED_ON_BYTES_PER_SECOND_MAX",
    "QUERY_ENTRIES_MAX",
    "QUERY_TOPICS_MAX",
    "RESUME_MAX",
    "RETURNS_PER_SECOND",
    "ROOMS_PER_SESSION_MAX",
    "SEGMENTS_UNACKNOWLEDGED_MAX",
    "SERVER_FRAME_BYTES_MAX",
    "SUBSCRIPTIONS_PER_CONNECTION_MAX",
    "TEXT_CHARACTERS_MAX",
    "TOMBSTONES_PER_TOPIC_VIEW_MAX",
    "UNSENT_BYTES_MAX",
]

#: Bytes of one frame from a client. Beyond: close 1009.
CLIENT_FRAME_BYTES_MAX: Final = 64 * 1024
#: Bytes of one frame to a client that we aim at: snapshots go in parts below it.
SERVER_FRAME_BYTES_MAX: Final = 256 * 1024
#: Entries in one part of a snapshot (a typical entry has 150 bytes).
ENTRIES_PER_PART_MAX: Final = 500
#: Unreadable frames of one connection. Beyond: close 4400.
BAD_FRAMES_MAX: Final = 5
#: Characters of a topic, user or session. Beyond: `too_long`.
ID_CHARACTERS_MAX: Final = 128
#: Characters of a device word. Beyond: `too_long`.
DEVICE_CHARACTERS_MAX: Final = 32
#: Characters of a status text and of an emoji. Beyond: `too_long`.
TEXT_CHARACTERS_MAX: Final = 140
EMOJI_CHARACTERS_MAX: Final = 16
#: Encoded bytes of one meta. Beyond: `too_long`.
META_BYTES_MAX: Final = 4 * 1024
#: Nesting of one meta. Beyond: `bad_frame`.
META_DEPTH_MAX: Final = 8
#: Characters of a cursor as the id of an event: it comes back in a header, whose line HTTP servers
#: bound at 8 kB. Beyond: no id, and whoever resumes gets everything again.
EVENT_ID_CHARACTERS_MAX: Final = 6_000
#: Rooms that one session is in. Beyond: `too_many`.
ROOMS_PER_SESSION_MAX: Final = 100
#: Topics and users that one connection watches. Beyond: `too_many`.
SUBSCRIPTIONS_PER_CONNECTION_MAX: Final = 2_000
#: Resume attempts of one session: half of an epoch's 64 bits. Beyond: `bad_frame`.
RESUME_MAX: Final = (1 << 31) - 1
#: Clients of a gateway that ends which come to the others in a second. Beyond: they are told to
#: come closer together, since their sessions' graces end.
RETURNS_PER_SECOND: Final = 400
#: How long a gateway believes in a silent guest at least: a stock Phoenix client beats every 30 s
#: and cannot be told to do it more often. Beyond: close 4508.
GUEST_LEASE_MS_MIN: Final = 60_000
#: Topics and users of one query. Beyond: HTTP 400.
QUERY_TOPICS_MAX: Final = 1_000
#: Entries in the answer to one query. Beyond: further pages.
QUERY_ENTRIES_MAX: Final = 1_000
#: Acts of app servers that wait for a replica to have them. Beyond: `unavailable`.
ACTS_WAITING_MAX: Final = 1_000
#: How long a gateway believes in a device that posts: as long as that asks for, within these.
#: Beyond: `bad_frame`.
CARRIED_LEASE_MS_MIN: Final = 5_000
CARRIED_LEASE_MS_MAX: Final = 3_600_000
#: Devices of one user that post to one gateway. Beyond: `too_many`.
CARRIED_PER_USER_MAX: Final = 100
#: Users of one shard of whom app servers are being told. Beyond: their turn comes later, and they
#: are told what is so by then.
NOTICES_FLYING_MAX: Final = 500
#: How long an answer to a notice is waited for. Beyond: it counts as not taken.
NOTICE_ANSWER_MS_MAX: Final = 15_000
#: After the first attempt that fails, a notice is tried again after the first of these, then after
#: twice as long each time, up to the second.
NOTICE_RETRY_MS_MIN: Final = 1_000
NOTICE_RETRY_MS_MAX: Final = 300_000
#: Attempts for one notice, some three quarters of an hour. Beyond: it is dead.
NOTICE_ATTEMPTS_MAX: Final = 16
#: Dead notices of one shard that are kept for people to see. Beyond: the oldest are forgotten.
DEAD_NOTICES_MAX: Final = 100
#: Rows in one part of a gossip delta. Beyond: further parts.
GOSSIP_ROWS_MAX: Final = 5_000
#: Rows that a replica forgets in one step. Beyond: in the next one, a moment later.
DROPPED_ROWS_MAX: Final = 2_000
#: Segments of an attachment that wait for an acknowledgement. Beyond: changes gather, the newest
#: of each row, until the other side has caught up.
SEGMENTS_UNACKNOWLEDGED_MAX: Final = 8
#: Removed rows that a gateway keeps per watched topic so that a cursor can be continued. Beyond:
#: the oldest are forgotten, and an older cursor gets a snapshot instead.
TOMBSTONES_PER_TOPIC_VIEW_MAX: Final = 1_000
#: How long a client may need to read what it is behind with. Beyond: close 4513; it resumes.
LAG_MS_MAX: Final = 30_000
#: How long after it has caught up a client counts as a slow one. Behind again within this: counts
#: only, and behind with those: close 4513. Beyond: all is forgotten.
LAG_MEMORY_MS: Final = 60_000
#: A lag of less than this costs a snapshot, and nothing that is remembered.
LAG_BRIEF_MS: Final = 1_000
#: How often a slow client that knows no counts is shown a room whole, if it changed.
LAG_STATE_MS: Final = 10_000
#: Bytes of answers that wait for a client which is told nothing else until it has read all. Beyond:
#: close 4513.
UNSENT_BYTES_MAX: Final = 1024 * 1024
#: What one client may say to others in a second, and at once: broadcasts and their bytes. Beyond:
#: `rate_limited`, and nobody hears it.
BROADCASTS_PER_SECOND_MAX: Final = 100
BROADCAST_BYTES_PER_SECOND_MAX: Final = 1024 * 1024
#: Nesting of one broadcast; some parsers give up far below what others write. Beyond: refused.
BROADCAST_DEPTH_MAX: Final = 64
#: Bytes of broadcasts that one process sends to another in a second, and at once, so that links
#: keep room for presence. Beyond: those who listen there do not hear it.
PASSED_ON_BYTES_PER_SECOND_MAX: Final = 8 * 1024 * 1024
