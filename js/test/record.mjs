// Writes transcript.json anew: what a client and two real gateways said to each other in a story.
//
//   node test/record.mjs

import { writeFile } from "node:fs/promises"

import WebSocket from "ws"

import { Cluster, until } from "./cluster.mjs"

const lines = []

class Recorded extends WebSocket {
  constructor(url, protocol) {
    super(url, protocol)
    lines.push({ open: lines.filter((line) => "open" in line).length })
    this.addEventListener("message", ({ data }) => lines.push({ heard: JSON.parse(data) }))
    this.addEventListener("close", ({ code, reason }) => lines.push({ closed: code, reason }))
  }

  send(text) {
    lines.push({ said: JSON.parse(text) })
    super.send(text)
  }
}

const cluster = await Cluster.start()
const [one, two] = cluster.urls
const client = cluster.connect("alice", [one, two], { WebSocket: Recorded, random: () => 0.5 })
const room = client.join("lobby", { mood: "curious" })
await room.ready
await until("alice is there", () => room.who().has("alice"))
const bob = cluster.connect("bob", two, { device: "mobile" })
const theirs = bob.join("lobby")
await until("bob is there", () => room.who().has("bob"))
await theirs.patch({ task: 42 })
await until("bob has a task", () => room.who().get("bob")[0].meta.task)
await cluster.order("kill 0")
await until("alice is elsewhere", () => client.welcome.gateway === "a/g1" && room.synced)
bob.close()
await until("bob is gone", () => !room.who().has("bob"))
await cluster.stop()
await until("the goodbye is heard", () => lines.at(-1).closed)
const text = JSON.stringify(lines).replaceAll(one, "ws://one:1").replaceAll(two, "ws://two:2")
await writeFile(
  new URL("transcript.json", import.meta.url),
  `${JSON.stringify(JSON.parse(text), null, 1)}\n`,
)
