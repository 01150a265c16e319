// A stock Supabase Realtime client, steered like phoenix_client.cjs: lines of JSON on standard
// input; what its own handlers are told comes out as lines of JSON on standard output.
//
//   node supabase_client.cjs realtime-2-99 ws://127.0.0.1:4000/realtime/v1 '{"token":"dev:alice"}'
//
// Version 2.10 wires its handlers to no WebSocket but the global one: give Node 20
// --experimental-websocket for it.
"use strict"

const readline = require("node:readline")
const WebSocket = require("ws")

const [package_, url, given] = process.argv.slice(2)
const { RealtimeClient } = require(package_)
const { token, ...params } = JSON.parse(given)

const tell = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n")
const plain = (metas) => JSON.parse(JSON.stringify(metas ?? []))
const nameOf = (topic) => topic.replace(/^room:/, "")

// Its own brake on broadcasts, ten a second, is not what is tested.
const options = { params: { apikey: token, eventsPerSecond: 1000, ...params } }
if (package_ !== "realtime-2-10") options.transport = WebSocket
const realtime = new RealtimeClient(url, options)

const channels = new Map()
const shown = new Map()

const show = (topic, id, name) => {
  const { meta } = shown.get(topic)
  return channels.get(topic).track(meta).then((answer) => {
    if (id !== undefined) tell(answer === "ok" ? "ok" : "error", { id, name, answer })
  })
}

const heard = (topic, { event, payload }) => {
  const bytes = payload instanceof ArrayBuffer ? Buffer.from(payload).toString("hex") : undefined
  tell("broadcast", { topic, name: event, ...(bytes === undefined ? { payload } : { bytes }) })
}

const orders = {
  connect() {
    realtime.connect()
    tell("open")
  },
  join({ topic, params: { meta, key = "", ack = true, self = false }, id }) {
    const config = { presence: { key }, broadcast: { ack, self } }
    const channel = realtime.channel(nameOf(topic), { config })
    channels.set(topic, channel)
    shown.set(topic, { meta })
    channel.on("presence", { event: "join" }, ({ key: user, newPresences }) =>
      tell("join", { topic, key: user, metas: plain(newPresences) }))
    channel.on("presence", { event: "leave" }, ({ key: user, leftPresences }) =>
      tell("leave", { topic, key: user, metas: plain(leftPresences) }))
    channel.on("presence", { event: "sync" }, () => tell("sync", { topic }))
    channel.on("broadcast", { event: "*" }, (message) => heard(topic, message))
    let answered = false
    channel.subscribe((status, error) => {
      tell("status", { topic, status, reason: error?.message ?? null })
      if (status === "SUBSCRIBED") {
        // As apps do: it does not track again by itself.
        if (shown.get(topic).meta !== undefined) show(topic, answered ? undefined : id, "join")
        else if (!answered) tell("ok", { id, name: "join" })
        answered = true
      } else if (!answered && status === "CHANNEL_ERROR") {
        answered = true
        tell("error", { id, name: "join", reason: error?.message ?? null })
      }
    })
  },
  push({ topic, payload, id }) {
    shown.set(topic, { meta: payload })
    show(topic, id, "track")
  },
  untrack({ topic, id }) {
    shown.set(topic, {})
    channels.get(topic).untrack().then((answer) => tell(answer, { id, name: "untrack" }))
  },
  say({ topic, name, payload, bytes, id }) {
    const said = bytes === undefined ? payload : new Uint8Array(Buffer.from(bytes, "hex")).buffer
    channels.get(topic).send({ type: "broadcast", event: name, payload: said })
      .then((answer) => tell(answer === "ok" ? "ok" : "error", { id, name: "say", answer }))
  },
  post({ topic, name, payload, id }) {
    channels.get(topic).httpSend(name, payload).then(
      () => tell("ok", { id, name: "post" }),
      (error) => tell("error", { id, name: "post", reason: error.message }))
  },
  renew({ token: newer, id }) {
    Promise.resolve(realtime.setAuth(newer)).then(() => tell("ok", { id, name: "renew" }))
  },
  leave({ topic, id }) {
    channels.get(topic).unsubscribe().then((answer) => tell(answer, { id, name: "leave" }))
  },
  list({ topic, id }) {
    tell("list", { topic, id, presences: plain(channels.get(topic).presenceState()) })
  },
  disconnect() {
    realtime.disconnect()
  },
}

const input = readline.createInterface({ input: process.stdin })
input.on("line", (line) => {
  const { order, ...more } = JSON.parse(line)
  orders[order](more)
})
input.on("close", () => process.exit(0))
