// Two real gateways on loopback, in a process of their own, and clients of them.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import readline from "node:readline"

import WebSocket from "ws"

import { connect } from "../presence.js"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))
const PYTHON = process.env.PRESENCE_PYTHON ?? ".venv/bin/python"

export class Cluster {
  #clients = []

  static async start() {
    const cluster = new Cluster()
    const options = { cwd: ROOT, stdio: ["pipe", "pipe", "inherit"] }
    cluster.process = spawn(PYTHON, ["-m", "tests.integration.small_cluster"], options)
    cluster.lines = readline.createInterface({ input: cluster.process.stdout })[Symbol.asyncIterator]()
    cluster.urls = JSON.parse((await cluster.lines.next()).value)
    return cluster
  }

  /** `kill 0`, `drain 0`; done when this returns. */
  async order(line) {
    this.process.stdin.write(`${line}\n`)
    await this.lines.next()
  }

  connect(name, urls, options = {}) {
    const client = connect(urls, { token: `dev:${name}`, WebSocket, ...options })
    this.#clients.push(client)
    return client
  }

  async stop() {
    for (const client of this.#clients) client.close()
    const ended = once(this.process, "exit")
    this.process.stdin.end()
    await ended
  }
}

/** Resolves once it holds; looked at whenever a handler of the room, watch or client was called. */
export const until = (what, look) =>
  new Promise((resolve, reject) => {
    const end = Date.now() + 15_000
    const again = () => {
      if (look()) resolve()
      else if (Date.now() > end) reject(new Error(`in vain: ${what}`))
      else setTimeout(again, 10)
    }
    again()
  })
