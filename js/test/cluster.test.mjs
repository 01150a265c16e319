// Clients against two real gateways: real sockets, real machines, real time.

import assert from "node:assert/strict"
import { after, before, test } from "node:test"

import { Cluster, until } from "./cluster.mjs"
import { told } from "./peer.mjs"

let cluster

before(async () => {
  cluster = await Cluster.start()
})

after(() => cluster.stop())

test("two see each other come, change and leave", async () => {
  const [one, two] = cluster.urls
  const alice = cluster.connect("alice", one).join("lobby", { mood: "curious" })
  await alice.ready
  await until("alice sees herself", () => alice.who().has("alice"))
  const heard = told(alice)
  const bob = cluster.connect("bob", two, { device: "mobile" }).join("lobby")
  await until("bob is seen", () => heard.includes("+bob"))
  await bob.ready
  assert.deepEqual(bob.who().get("alice")[0].meta, { mood: "curious" })
  assert.equal(alice.who().get("bob")[0].device, "mobile")
  await bob.patch({ task: { ticket: 42 } })
  await until("the change is seen", () => heard.includes('~bob online {"task":{"ticket":42}}'))
  await bob.leave()
  await until("bob is gone", () => heard.includes("-bob left"))
  assert.deepEqual(heard.filter((what) => what !== "sync").length, 3)
})

test("a watched user's statuses come as they are chosen", async () => {
  const [one, two] = cluster.urls
  const watch = cluster.connect("dora", one).watch(["carl"])
  const statuses = []
  watch.onStatus(({ status }) => statuses.push(status.status))
  await until("carl is offline", () => statuses.at(-1) === "offline")
  const carl = cluster.connect("carl", two)
  await until("carl is online", () => statuses.at(-1) === "online")
  await carl.setStatus("away")
  await until("carl is away", () => statuses.at(-1) === "away")
  await carl.setIntent({ status: "dnd", text: "in a meeting" })
  await until("carl is not to be disturbed", () => watch.statuses.get("carl").text === "in a meeting")
  carl.close()
  await until("carl is gone", () => statuses.at(-1) === "offline")
  assert.deepEqual(statuses, ["offline", "online", "away", "dnd", "offline"])
})

test("a refused token is the end", async () => {
  const client = cluster.connect("x", cluster.urls, { token: "no token at all" })
  await until("it has ended", () => client.ended)
  assert.equal(client.ended.code, 4401)
})

test("a gateway is killed: its people return to the other one, and nobody hears of it", async () => {
  const [one, two] = cluster.urls
  const mover = cluster.connect("mover", [one, two])
  const room = mover.join("refuge", { at: "first" })
  await room.ready
  const witness = cluster.connect("witness", two).join("refuge")
  await witness.ready
  await until("the witness sees both", () => witness.who().size === 2)
  await until("the mover sees both", () => room.who().size === 2)
  const [seen, lived] = [told(witness), told(room)]
  const links = []
  mover.onLink(({ state, resumed }) => links.push([state, resumed]))
  await cluster.order("kill 0")
  await until("the mover is back", () => mover.connected && room.synced)
  await witness.patch({ news: 1 })
  await until("the mover hears news", () => lived.length > 0)
  assert.deepEqual(links.at(-1), ["live", true])
  assert.equal(mover.welcome.gateway, "a/g1")
  // Beyond the grace of a lost gateway nothing of it can still come.
  await new Promise((resolve) => setTimeout(resolve, 4500))
  assert.deepEqual(seen.filter((what) => what.includes("mover")), [])
  assert.deepEqual(lived, ['~witness online {"news":1}', "sync"])
})
