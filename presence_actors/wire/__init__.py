"""Pure translations between bytes and the vocabulary: no I/O, no clock, no state.

=============  ==================================================================
`native`       what clients speak: ``presence.v1.json``
`peer`         what our own processes speak over peer links
`identifiers`  how a topic, a user or a session may be spelt
`refusals`     what a frame is refused with
=============  ==================================================================
"""
