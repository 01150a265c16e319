// One client against a gateway that is played by hand, under a virtual clock.

import assert from "node:assert/strict"
import { beforeEach, mock, test } from "node:test"

import { Peer, entry, settled, told } from "./peer.mjs"

const LOBBY = "room:lobby"

beforeEach(() => {
  mock.timers.reset()
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 })
})

test("hello names the token, and the room is joined and watched after the welcome", async () => {
  const peer = new Peer("ws://one:4000")
  peer.client.join("lobby", { mood: "curious" })
  assert.equal(peer.socket.url, "ws://one:4000/ws")
  assert.equal(peer.socket.protocol, "presence.v1.json")
  assert.deepEqual(await peer.open(), {
    type: "hello", token: "dev:alice", device: "web", status: "online", idle_ms: 0,
  })
  await peer.tell({ type: "welcome", session: "s1", heartbeat_ms: 1000, lease_ms: 3000, grace_ms: 1 })
  const said = peer.said().map(({ id, ...frame }) => frame)
  assert.deepEqual(said, [
    { type: "set", topic: LOBBY, meta: { mood: "curious" } },
    { type: "sub", topics: [LOBBY] },
  ])
})

test("a snapshot after a return fires the net change and nothing else", async () => {
  const peer = new Peer()
  const room = peer.client.observe("lobby")
  const heard = told(room)
  await peer.stand()
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob"), entry("carol")], cursor: "c1" })
  assert.deepEqual(heard.splice(0), ["+bob", "+carol", "sync"])
  const [sub] = await peer.returns()
  assert.deepEqual([sub.type, sub.cursor], ["sub", "c1"])
  assert.equal(room.synced, false)
  assert.equal(room.entries.size, 2, "what is known stays while the connection is lost")
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("carol"), entry("bob")], cursor: "c2" })
  assert.deepEqual(heard, [], "who is here as before causes no event at all")
  assert.equal(room.synced, true)
  await peer.returns()
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob", { status: "away" }), entry("dave")] })
  assert.deepEqual(heard, ["-carol ", "~bob away {}", "+dave", "sync"])
})

test("a difference counts once, and only where it continues something", async () => {
  const peer = new Peer()
  const heard = told(peer.client.observe("lobby"))
  await peer.stand()
  await peer.tell({ type: "diff", topic: LOBBY, joins: [entry("eve")] })
  assert.deepEqual(heard, [], "before the snapshot it continues nothing")
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob")] })
  const change = {
    type: "diff", topic: LOBBY, joins: [entry("carol")], updates: [entry("bob", { meta: { n: 1 } })],
    leaves: [{ ref: "ref-nobody", key: "nobody", reason: "left" }], cursor: "c2",
  }
  heard.length = 0
  await peer.tell(change, change)
  assert.deepEqual(heard, ["+carol", '~bob online {"n":1}', "sync"])
  heard.length = 0
  const [sub] = await peer.returns()
  assert.equal(sub.cursor, "c2")
  await peer.tell({
    type: "diff", topic: LOBBY, resumed: true, updates: [entry("dave")],
    leaves: [{ ref: "ref-bob", key: "bob", reason: "timeout" }],
  })
  assert.deepEqual(heard, ["-bob timeout", "+dave", "sync"])
})

test("a picture that is not what the gateway says it must be is asked for anew", async () => {
  const peer = new Peer()
  const heard = told(peer.client.observe("lobby"))
  await peer.stand()
  const [bob, carol] = [entry("bob", { ref: "a1" }), entry("carol", { ref: "b0" })]
  await peer.tell({ type: "snap", topic: LOBBY, state: [bob, carol] })
  await peer.tell({ type: "diff", topic: LOBBY, check: "11" })
  assert.deepEqual(peer.said(), [])
  heard.length = 0
  await peer.tell({ type: "diff", topic: LOBBY, check: "a1" })
  const [sub] = peer.said()
  assert.deepEqual([sub.type, sub.topics, sub.cursor], ["sub", [LOBBY], undefined])
  await peer.tell({ type: "snap", topic: LOBBY, state: [bob] })
  assert.deepEqual(heard, ["-carol ", "sync"])
})

test("a handler sees the room as it is after the whole frame", async () => {
  const peer = new Peer()
  const room = peer.client.observe("lobby")
  const seen = []
  room.onJoin(() => seen.push([...room.who().keys()].join()))
  await peer.stand()
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob"), entry("carol")] })
  assert.deepEqual(seen, ["bob,carol", "bob,carol"])
})

test("a snapshot in parts counts when its last part is here, and a hole in it is no snapshot", async () => {
  const peer = new Peer()
  const heard = told(peer.client.observe("lobby"))
  await peer.stand()
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob")], last: false })
  assert.deepEqual(heard, [])
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("carol")], part: 1, cursor: "c" })
  assert.deepEqual(heard, ["+bob", "+carol", "sync"])
  await peer.tell(
    { type: "snap", topic: LOBBY, state: [entry("bob")], last: false },
    { type: "snap", topic: LOBBY, state: [], part: 2 },
  )
  assert.equal(peer.socket.isClosed, true)
  assert.equal(peer.links.at(-1).reason, "a part of a snapshot is missing")
  assert.equal(heard.length, 3)
})

test("a user may have any name", async () => {
  const peer = new Peer()
  const room = peer.client.observe("lobby")
  const names = ["__proto__", "constructor", "toString"]
  await peer.stand()
  await peer.tell({ type: "snap", topic: LOBBY, state: names.map((name) => entry(name)) })
  assert.deepEqual([...room.who().keys()], names)
})

test("each attempt to come back counts, and says again what was granted", async () => {
  const peer = new Peer()
  const room = peer.client.join("lobby", { a: 1 })
  const [set, sub] = await peer.stand()
  await peer.tell({ type: "ok", id: set.id, since: 77 }, { type: "ok", id: sub.id })
  const patched = room.patch({ b: { c: 2 }, a: null })
  assert.deepEqual(room.meta, { b: { c: 2 } })
  await peer.lose()
  await peer.pass(1000)
  assert.equal((await peer.open()).resume, 1)
  await peer.lose()
  await peer.pass(60_000)
  const hello = await peer.open()
  assert.deepEqual([hello.session, hello.resume], ["s1", 2])
  await peer.tell({ type: "welcome", session: "s1", resume: 2, heartbeat_ms: 1000, lease_ms: 3000, grace_ms: 1 })
  const again = peer.said()
  assert.deepEqual(again[0], { type: "set", topic: LOBBY, meta: { b: { c: 2 } }, since: 77, id: again[0].id })
  await peer.tell({ type: "ok", id: again[0].id, since: 77 })
  await patched
})

test("a refusal rejects, and what is shown is what was granted", async () => {
  const peer = new Peer()
  const room = peer.client.join("lobby", { a: 1 })
  const [set] = await peer.stand()
  await peer.tell({ type: "ok", id: set.id, since: 1 })
  const refused = assert.rejects(room.patch({ b: "much" }), { code: "too_long", retryAfterMs: undefined })
  const [patch] = peer.said()
  await peer.tell({ type: "err", id: patch.id, code: "too_long", message: "too much" })
  await refused
  assert.deepEqual(room.meta, { a: 1 })
})

test("what a gateway refuses after a reconnect is told, and not asked again", async () => {
  const peer = new Peer()
  const refusals = []
  peer.client.onRefused((error) => refusals.push(error.code))
  peer.client.join("lobby")
  const [set, sub] = await peer.stand()
  await peer.tell({ type: "ok", id: set.id }, { type: "ok", id: sub.id })
  const [again] = await peer.returns()
  await peer.tell({ type: "err", id: again.id, code: "forbidden", message: "no more" })
  assert.deepEqual(refusals, ["forbidden"])
  assert.deepEqual((await peer.returns()).map(({ type }) => type), ["sub"])
})

test("what is not granted just now is asked again later", async () => {
  const peer = new Peer()
  peer.client.join("lobby")
  const [set] = await peer.stand()
  await peer.tell({ type: "ok", id: set.id })
  const [again] = await peer.returns()
  await peer.tell({ type: "err", id: again.id, code: "rate_limited", message: "slowly", retry_after_ms: 2000 })
  peer.said()
  const sets = () => peer.said().filter(({ type }) => type === "set")
  await peer.pass(1999)
  assert.deepEqual(sets(), [])
  await peer.pass(1)
  assert.deepEqual(sets(), [again])
})

test("a room left while nobody was there to hear it is left on return", async () => {
  const peer = new Peer()
  const room = peer.client.join("lobby")
  const [set] = await peer.stand()
  await peer.tell({ type: "ok", id: set.id })
  await peer.lose()
  const left = room.leave()
  assert.equal(room.meta, undefined)
  await peer.pass(1000)
  const said = await peer.stand()
  assert.deepEqual(said.map(({ type }) => type), ["unset"])
  await peer.tell({ type: "err", id: said[0].id, code: "not_joined", message: "it was heard" })
  await left
})

test("full jitter: within a second at first, then twice as much each time, at most a minute", async () => {
  const waits = []
  const peer = new Peer("ws://one", { random: () => 0.999 })
  await peer.stand({ grace_ms: 15000 })
  await peer.lose()
  waits.push(peer.links.at(-1).retryMs)
  let passed = 0
  for (let attempt = 0; attempt < 9; attempt += 1) {
    const count = peer.sockets.length
    for (passed = 0; peer.sockets.length === count; passed += 100) await peer.pass(100)
    waits.push(passed)
    await peer.lose()
  }
  assert.ok(waits[0] <= 1000, `${waits[0]}`)
  assert.ok(waits[4] > 3 * waits[2], `${waits}`)
  assert.ok(Math.max(...waits) <= 60_000 && waits.at(-1) > 55_000, `${waits}`)
  const lucky = new Peer("ws://one", { random: () => 0 })
  await lucky.stand()
  await lucky.lose()
  assert.equal(lucky.links.at(-1).retryMs, 0)
})

test("the next gateway is tried after a loss, and those that the welcome names", async () => {
  const peer = new Peer(["ws://one", "ws://two"])
  await peer.stand({ gateways: ["ws://one", "ws://three:5"] })
  for (const url of ["ws://two/ws", "ws://three:5/ws", "ws://one/ws"]) {
    await peer.lose()
    await peer.pass(60_000)
    assert.equal(peer.socket.url, url)
  }
})

test("a secure connection teaches no plain address", async () => {
  const peer = new Peer("wss://one")
  await peer.stand({ gateways: ["ws://two"] })
  await peer.lose()
  await peer.pass(60_000)
  assert.equal(peer.socket.url, "wss://one/ws")
})

test("sent away, clients spread over the time they are given, from the slot they are given", async () => {
  for (const [random, least, most] of [[0, 3000, 3000], [0.999, 4900, 5000]]) {
    const peer = new Peer("ws://one", { random: () => random })
    await peer.stand()
    await peer.tell({ type: "goaway", reason: "restart", retry_in_ms: 3000, jitter_ms: 2000, gateways: ["ws://two"] })
    await peer.lose(1012)
    const { retryMs } = peer.links.at(-1)
    assert.ok(retryMs >= least && retryMs <= most, `${retryMs}`)
    await peer.pass(60_000)
    assert.equal(peer.socket.url, "ws://two/ws")
  }
})

test("a refusal with a time waits at least that long", async () => {
  const peer = new Peer()
  await peer.open()
  await peer.tell({ type: "err", code: "unavailable", message: "full", retry_after_ms: 7000 })
  await peer.lose(4529)
  await peer.pass(6999)
  assert.equal(peer.sockets.length, 1)
  await peer.pass(2001)
  assert.equal(peer.sockets.length, 2)
})

test("44xx is the end: what waits is rejected, and nothing is tried again", async () => {
  const peer = new Peer()
  const room = peer.client.join("lobby")
  const waits = assert.rejects(room.set({}), /not valid/)
  await peer.open()
  await peer.tell({ type: "err", code: "unauthorized", message: "the token is not valid" })
  await peer.lose(4401)
  await waits
  await assert.rejects(room.ready, { code: 4401 })
  assert.deepEqual(peer.links, [{ state: "ended", code: 4401, reason: "the token is not valid" }])
  await peer.pass(120_000)
  assert.equal(peer.sockets.length, 1)
  await assert.rejects(room.set({}), { code: 4401 })
})

test("a token that has run out is asked for anew, if there is somebody to ask", async () => {
  const tokens = ["old", "new"]
  const peer = new Peer("ws://one", { token: () => tokens.shift() })
  assert.equal((await peer.open()).token, "old")
  await peer.tell({ type: "welcome", session: "s1", heartbeat_ms: 1000, lease_ms: 3000, grace_ms: 15000 })
  await peer.lose(4401)
  await peer.pass(1000)
  assert.equal((await peer.open()).token, "new")
  await peer.lose(4401)
  assert.equal(peer.links.at(-1).state, "ended", "a fresh token that is refused is no passing thing")
})

test("heartbeats come as the welcome says, and only if nothing else was said", async () => {
  const peer = new Peer()
  const room = peer.client.join("lobby")
  await peer.stand()
  await peer.pass(900)
  room.patch({ a: 1 }).catch(() => {})
  peer.said()
  await peer.pass(900)
  assert.deepEqual(peer.said(), [])
  await peer.pass(100)
  assert.deepEqual(peer.said().map(({ type }) => type), ["ping"])
})

test("a gateway that says nothing for a lease is left without waiting for its socket", async () => {
  const peer = new Peer(["ws://one", "ws://two"])
  await peer.stand()
  await peer.pass(1000)
  await peer.tell({ type: "pong", server_ms: 1 })
  for (let beat = 0; beat < 3; beat += 1) await peer.pass(1000)
  assert.equal(peer.socket.isClosed, true)
  assert.equal(peer.links.at(-1).state, "lost")
  await peer.pass(1000)
  assert.equal(peer.socket.url, "ws://two/ws")
})

test("no welcome is no connection, and a late one of the old socket changes nothing", async () => {
  const peer = new Peer(["ws://one", "ws://two"])
  const old = peer.socket
  await peer.open()
  await peer.pass(10_000)
  assert.equal(old.isClosed, true)
  await peer.pass(1000)
  old.onmessage({ data: JSON.stringify({ type: "welcome", session: "late" }) })
  assert.equal(peer.client.connected, false)
})

test("a watched user's change is told once, and a moving time of doubt is none", async () => {
  const peer = new Peer()
  const watch = peer.client.watch(["bob"])
  const heard = []
  watch.onStatus(({ status, previous }) => heard.push(`${previous?.status} ${status.status}`))
  await peer.stand()
  const status = { type: "status", user: "bob", status: "unreachable", since: 1, as_of: 5 }
  await peer.tell(status, status, { ...status, as_of: 9 }, { type: "status", user: "bob", status: "online" })
  await peer.tell({ type: "status", user: "stranger", status: "online" })
  assert.deepEqual(heard, ["undefined unreachable", "unreachable online"])
  assert.deepEqual([...watch.statuses.keys()], ["bob"])
})

test("a user whom two watch is watched until both have stopped", async () => {
  const peer = new Peer()
  const [one, two] = [peer.client.watch(["bob", "carol"]), peer.client.watch("bob")]
  await peer.stand()
  one.close()
  assert.deepEqual(peer.said(), [{ type: "unsub", users: ["carol"] }])
  two.close()
  assert.deepEqual(peer.said(), [{ type: "unsub", users: ["bob"] }])
})

test("a view is told when it changes, and a gateway that says nothing of it sees all", async () => {
  const peer = new Peer()
  const room = peer.client.observe("lobby")
  const heard = []
  room.onView(({ quality }) => heard.push(quality))
  await peer.stand()
  const view = { type: "view", scope: LOBBY, quality: "partial", silent: ["b"], as_of: 1 }
  await peer.tell(view, { type: "snap", topic: LOBBY, state: [] }, { ...view, as_of: 2 })
  assert.deepEqual(heard, ["partial"])
  await peer.returns()
  await peer.tell({ type: "snap", topic: LOBBY, state: [] })
  assert.deepEqual(heard, ["partial", "complete"])
})

test("goodbye is said, and then nothing more", async () => {
  const peer = new Peer()
  await peer.stand()
  peer.client.close()
  assert.deepEqual(peer.said(), [{ type: "bye" }])
  assert.equal(peer.socket.isClosed, true)
  await peer.pass(120_000)
  assert.equal(peer.sockets.length, 1)
})

test("a handler that throws harms no other handler", async () => {
  const peer = new Peer()
  const room = peer.client.observe("lobby")
  const thrown = []
  const keep = (error) => thrown.push(error.message)
  process.setUncaughtExceptionCaptureCallback(keep)
  room.onJoin(() => {
    throw new Error("the application's")
  })
  const heard = told(room)
  await peer.stand()
  await peer.tell({ type: "snap", topic: LOBBY, state: [entry("bob")] })
  await new Promise(setImmediate)
  process.setUncaughtExceptionCaptureCallback(null)
  await settled()
  assert.deepEqual(heard, ["+bob", "sync"])
  assert.deepEqual(thrown, ["the application's"])
})

test("without a WebSocket there is a sentence", () => {
  assert.throws(() => new Peer("ws://one", { WebSocket: undefined }), /hand one in/)
})
