"""Carries frames between actors and between zones: MessagePack in, MessagePack out, over TCP.

`hub.LinkHub` is what a host uses. What a link may do is decided in `link.LinkMachine`, without any
I/O; the other modules connect it to sockets.
"""
