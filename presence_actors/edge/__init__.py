"""Where clients come in: tokens, sockets, HTTP. Drivers around the gateway's machine.

===============  ==============================================================================
`tokens`         who a client is
`admission`      which origins, hosts and addresses may come in at all
`conn`           what the driver needs of a connection, whatever library serves it
`limits`         what the edge allows, beside what a frame may hold
`polls`          those who wait for one answer
`driver`         connections to events, effects to connections
`upgrade`        what becomes of a request for a socket
`picows_conn`    a connection of picows
`aiohttp_conn`   a connection of aiohttp
`front_door`     which of the two gets a connection, by how its request begins
`pages`          the page for people
`rest`           answers for those who poll
`server`         all of it on one port
===============  ==============================================================================
"""
