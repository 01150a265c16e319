// A story that was recorded between a client and real gateways, told again without them.

import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { mock, test } from "node:test"

import { Peer, settled, told } from "./peer.mjs"

/** Without what depends on the moment of the recording. */
const timeless = ({ idle_ms: _, t: __, ...frame }) => frame

test("the client says what it said, and tells each change once", async () => {
  mock.timers.enable({ apis: ["setTimeout", "Date"] })
  const lines = JSON.parse(await readFile(new URL("transcript.json", import.meta.url), "utf8"))
  const peer = new Peer(["ws://one:1", "ws://two:2"])
  const room = peer.client.join("lobby", { mood: "curious" })
  const heard = told(room)
  const resumed = []
  peer.client.onLink((event) => event.state === "live" && resumed.push(event.resumed))
  const goodbye = lines.findIndex(({ said }) => said?.type === "bye")
  for (const [index, line] of lines.entries()) {
    if (index === goodbye) {
      peer.client.close()
      break
    }
    if (line.open === 0) peer.socket.onopen()
    if (line.open === 1) {
      await peer.pass(2000)
      peer.socket.onopen()
    }
    await settled()
    if (line.heard) await peer.tell(line.heard)
    if (line.closed) await peer.lose(line.closed, line.reason)
  }
  const said = peer.sockets.flatMap((socket) => socket.said).map(timeless)
  const recorded = lines.flatMap((line) => (line.said ? [timeless(line.said)] : []))
  const ofPings = (frames) => frames.filter(({ type }) => type !== "ping")
  assert.deepEqual(ofPings(said), ofPings(recorded))
  assert.deepEqual(resumed, [false, true])
  const changes = heard.filter((what) => what !== "sync")
  assert.deepEqual(changes, ["+alice", "+bob", '~bob online {"task":42}', "-bob left"])
})
