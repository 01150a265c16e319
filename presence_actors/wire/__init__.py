"""Pure translations between bytes and the vocabulary: no I/O, no clock.

==================  =============================================================
`native`            what clients speak: ``presence.v1.json``
`phoenix`           what stock Phoenix clients speak; has a state per connection
`phoenix_frames`    the frames of that, versions 1 and 2
`phoenix_presence`  rooms as such clients see them: keys, metas, netted diffs
`phoenix_claims`    what such a client says of itself
`peer`              what our own processes speak over peer links
`identifiers`       how a topic, a user or a session may be spelt
`refusals`          what a frame is refused with
==================  =============================================================
"""
