// A gateway that a test plays by hand, and the client's sockets to it.

import { mock } from "node:test"

import { connect } from "../presence.js"

export const WELCOME = {
  type: "welcome", session: "s1", user: "alice", resume: 0, since: 1, heartbeat_ms: 1000,
  lease_ms: 3000, grace_ms: 15000, grace_gateway_ms: 30000, server_ms: 1, gateway: "a/g0",
}

export const entry = (name, more = {}) => ({
  ref: `ref-${name}`, key: name, status: "online", device: "web", since: 1, meta: {}, ...more,
})

/** Lets everything that waits for a promise happen; no timer moves. */
export const settled = async () => {
  for (let turn = 0; turn < 10; turn += 1) await null
}

/** The client's side of the wire: `sockets` are all it ever opened, the newest last. */
export class Peer {
  sockets = []

  constructor(urls = "ws://one", options = {}) {
    const { sockets } = this
    class Socket {
      said = []
      isClosed = false

      constructor(url, protocol) {
        Object.assign(this, { url, protocol })
        sockets.push(this)
      }

      send(text) {
        this.said.push(JSON.parse(text))
      }

      close() {
        this.isClosed = true
      }
    }
    this.client = connect(urls, { token: "dev:alice", WebSocket: Socket, random: () => 0.5, ...options })
    this.links = []
    this.client.onLink((event) => this.links.push(event))
  }

  get socket() {
    return this.sockets.at(-1)
  }

  /** What was said since this was last called. */
  said() {
    return this.socket.said.splice(0)
  }

  async open() {
    this.socket.onopen()
    await settled()
    return this.said()[0]
  }

  async tell(...frames) {
    for (const frame of frames) this.socket.onmessage({ data: JSON.stringify(frame) })
    await settled()
  }

  async lose(code = 1006, reason = "") {
    this.socket.onclose({ code, reason })
    await settled()
  }

  /** From the first byte to the welcome; what the client says then. */
  async stand(more = {}) {
    await this.open()
    await this.tell({ ...WELCOME, ...more })
    return this.said()
  }

  /** Lost, and welcomed again. */
  async returns(more = {}) {
    await this.lose()
    mock.timers.tick(1000)
    return this.stand(more)
  }

  async pass(ms) {
    mock.timers.tick(ms)
    await settled()
  }
}

/** What a room's handlers are told, as short words. */
export const told = (room) => {
  const heard = []
  room.onJoin(({ user }) => heard.push(`+${user}`))
  room.onUpdate(({ user, entry: now }) => heard.push(`~${user} ${now.status} ${JSON.stringify(now.meta)}`))
  room.onLeave(({ user, reason }) => heard.push(`-${user} ${reason}`))
  room.onSync(() => heard.push("sync"))
  return heard
}
