// A stock Phoenix client, steered by lines of JSON on standard input; what its own handlers are
// told comes out as lines of JSON on standard output.
//
//   node phoenix_client.cjs phoenix-1-8 ws://127.0.0.1:4000/socket '{"token":"dev:alice"}'
//
// The third argument holds the params of the socket; "auth_token" among them goes into the
// subprotocol instead. "vsn" asks for a version of the framing, "polls" for requests in place of a
// socket, "fallback_ms" for those where a socket does not open within this time.
"use strict"

const readline = require("node:readline")
const WebSocket = require("ws")

const [package_, url, given] = process.argv.slice(2)
const { auth_token: authToken, fallback_ms: fallbackMs, polls, vsn, ...params } = JSON.parse(given)
if (polls || fallbackMs !== undefined) {
  // What clients before 1.8 poll with is there in browsers only.
  global.self = global
  global.XMLHttpRequest = require("./requests.cjs")
}
const { LongPoll, Presence, Socket } = require(package_)

const tell = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n")
const plain = (presence) => JSON.parse(JSON.stringify(presence ?? null))

const options = { transport: WebSocket, params }
if (polls) options.transport = LongPoll
if (fallbackMs !== undefined) options.longPollFallbackMs = fallbackMs
if (authToken !== undefined) options.authToken = authToken
if (vsn !== undefined) options.vsn = vsn
if (vsn === "1.0.0") {
  // The framing of version 1, as clients of that time had it.
  options.encode = (message, callback) => callback(JSON.stringify(message))
  options.decode = (raw, callback) => callback({ join_ref: null, ...JSON.parse(raw) })
}
const socket = new Socket(url, options)
socket.onOpen(() => tell("open"))
socket.onClose((event) => tell("close", { code: event.code ?? null }))
socket.onError(() => {}) // without a handler `ws` would end the process

const channels = new Map()
const shown = new Map()

const answered = (push, name, id) =>
  push
    .receive("ok", (response) => tell("ok", { name, id, response }))
    .receive("error", (response) => tell("error", { name, id, response }))
    .receive("timeout", () => tell("timeout", { name, id }))

const orders = {
  connect() {
    socket.connect()
  },
  join({ topic, params: joinParams, id }) {
    // A function, so that a rejoin says what was tracked last: as docs/phoenix.md recommends.
    shown.set(topic, joinParams)
    const channel = socket.channel(topic, () => shown.get(topic))
    const presence = new Presence(channel)
    presence.onJoin((key, current, joined) =>
      tell("join", { topic, key, current: plain(current), metas: plain(joined).metas }))
    presence.onLeave((key, current, left) =>
      tell("leave", { topic, key, current: plain(current), metas: plain(left).metas }))
    presence.onSync(() => tell("sync", { topic }))
    channel.onClose(() => tell("channel_close", { topic }))
    channel.onError((reason) => tell("channel_error", { topic, reason: plain(reason) }))
    channels.set(topic, { channel, presence })
    answered(channel.join(), "join", id)
  },
  push({ topic, name, payload, id }) {
    if (name === "track") shown.set(topic, { ...shown.get(topic), meta: payload })
    answered(channels.get(topic).channel.push(name, payload), name, id)
  },
  leave({ topic, id }) {
    answered(channels.get(topic).channel.leave(), "leave", id)
  },
  list({ topic, id }) {
    const presences = {}
    channels.get(topic).presence.list((key, { metas }) => (presences[key] = metas))
    tell("list", { topic, id, presences })
  },
  // The connection is lost; nobody says goodbye.
  drop() {
    socket.conn.terminate()
  },
  disconnect() {
    socket.disconnect(() => tell("disconnected"))
  },
}

const input = readline.createInterface({ input: process.stdin })
input.on("line", (line) => {
  const { order, ...more } = JSON.parse(line)
  orders[order](more)
})
input.on("close", () => process.exit(0))
