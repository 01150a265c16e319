// A client of the native protocol: connects, resumes, and keeps what it was told.
//
// Rooms are {ref: entry}, users are their last status. A snapshot is compared with what is held, so
// that a reconnect fires the net change and nothing else.

const SUBPROTOCOL = "presence.v1.json"
const FIRST_RETRY_MS = 300
const RETRY_MS_MAX = 5_000
const PONG_MS = 10_000
const USERS_PER_FRAME = 200

/** Close codes 44xx: the gateway will not have us, now or later. */
const isFinal = (code) => code >= 4400 && code < 4500

export class Presence extends EventTarget {
  #url
  #token
  #device
  #socket = null
  #session = null
  #resume = 0
  #attempts = 0
  #retry = null
  #beat = null
  #pong = null
  #jitter = 0
  #least = 0
  #parts = new Map()
  #cursors = new Map()
  #ended = false
  #lastError = ""

  constructor(url, { token, device = "web" }) {
    super()
    this.#url = url
    this.#token = token
    this.#device = device
    /** {topic: {ref: entry}} */
    this.rooms = new Map()
    /** {user: status frame} */
    this.statuses = new Map()
    /** {topic: view frame} */
    this.views = new Map()
    /** Server time minus ours. */
    this.skew = 0
    this.welcome = null
  }

  open() {
    this.#connect()
    return this
  }

  /** Leave for good: no grace, no reconnect. */
  close() {
    this.#ended = true
    clearTimeout(this.#retry)
    this.#quiet()
    this.#say({ type: "bye" })
    this.#socket?.close()
  }

  watchRooms(topics) {
    for (const topic of topics) {
      if (this.rooms.has(topic)) continue
      this.rooms.set(topic, new Map())
      this.#say({ type: "sub", topics: [topic] })
    }
  }

  watchUsers(users) {
    const fresh = users.filter((user) => !this.statuses.has(user))
    for (const user of fresh) this.statuses.set(user, { user, status: "unknown" })
    this.#subscribeUsers(fresh)
  }

  #subscribeUsers(users) {
    for (let at = 0; at < users.length; at += USERS_PER_FRAME) {
      this.#say({ type: "sub", users: users.slice(at, at + USERS_PER_FRAME) })
    }
  }

  #fire(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }))
  }

  #say(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame))
  }

  #connect() {
    this.#fire("link", { state: "connecting" })
    const socket = new WebSocket(this.#url, SUBPROTOCOL)
    this.#socket = socket
    socket.onopen = () => {
      const hello = { type: "hello", token: this.#token, device: this.#device }
      if (this.#session) {
        this.#resume += 1
        Object.assign(hello, { session: this.#session, resume: this.#resume })
      }
      this.#say(hello)
    }
    socket.onmessage = (message) => this.#hear(JSON.parse(message.data))
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#lost(event)
    }
  }

  #lost(event) {
    this.#quiet()
    this.#parts.clear()
    if (this.#ended) return
    if (isFinal(event.code)) {
      this.#ended = true
      this.#fire("ended", { code: event.code, reason: event.reason || this.#lastError })
      return
    }
    // Full jitter: everybody who lost the same gateway must not come back at the same moment.
    const span = Math.min(RETRY_MS_MAX, FIRST_RETRY_MS * 2 ** this.#attempts)
    const delay = this.#least + Math.random() * Math.max(span, this.#jitter) + 50
    this.#attempts += 1
    this.#jitter = this.#least = 0
    this.#fire("link", { state: "lost", retryMs: delay, reason: event.reason })
    this.#retry = setTimeout(() => this.#connect(), delay)
  }

  #quiet() {
    clearTimeout(this.#beat)
    clearTimeout(this.#pong)
  }

  #keepAlive(heartbeatMs) {
    this.#beat = setTimeout(() => {
      this.#say({ type: "ping", t: Date.now() })
      this.#pong = setTimeout(() => this.#socket?.close(), PONG_MS)
      this.#keepAlive(heartbeatMs)
    }, heartbeatMs * (0.8 + 0.4 * Math.random()))
  }

  #hear(frame) {
    // Anything that comes shows that the gateway lives.
    clearTimeout(this.#pong)
    switch (frame.type) {
      case "welcome":
        return this.#welcomed(frame)
      case "snap":
        return this.#snap(frame)
      case "diff":
        return this.#diff(frame)
      case "status":
        return this.#status(frame)
      case "view":
        this.views.set(frame.scope, frame)
        return this.#fire("view", frame)
      case "goaway":
        this.#jitter = frame.jitter_ms ?? 0
        this.#least = frame.retry_in_ms ?? 0
        return
      case "err":
        this.#lastError = frame.message
        return this.#fire("refused", frame)
    }
  }

  #welcomed(frame) {
    const resumed = this.#session === frame.session
    this.#session = frame.session
    this.#attempts = 0
    this.welcome = frame
    this.skew = frame.server_ms - Date.now()
    this.#quiet()
    this.#keepAlive(frame.heartbeat_ms)
    this.#fire("link", { state: "live", resumed })
    for (const topic of this.rooms.keys()) {
      const cursor = this.#cursors.get(topic)
      this.#say({ type: "sub", topics: [topic], ...(cursor && { cursor }) })
    }
    this.#subscribeUsers([...this.statuses.keys()])
  }

  #snap(frame) {
    const gathered = frame.part ? (this.#parts.get(frame.topic) ?? []) : []
    gathered.push(...frame.state)
    if (frame.last === false) {
      this.#parts.set(frame.topic, gathered)
      return
    }
    this.#parts.delete(frame.topic)
    this.#remember(frame)
    const held = this.#room(frame.topic)
    const next = new Map(gathered.map((entry) => [entry.ref, entry]))
    for (const [ref, entry] of held) {
      if (!next.has(ref)) this.#leave(frame.topic, held, entry, "")
    }
    for (const entry of next.values()) this.#enter(frame.topic, held, entry)
    this.#fire("snap", { topic: frame.topic })
  }

  #diff(frame) {
    this.#remember(frame)
    const held = this.#room(frame.topic)
    for (const { ref, reason } of frame.leaves ?? []) {
      const entry = held.get(ref)
      if (entry) this.#leave(frame.topic, held, entry, reason)
    }
    for (const entry of [...(frame.joins ?? []), ...(frame.updates ?? [])]) {
      this.#enter(frame.topic, held, entry)
    }
  }

  #remember(frame) {
    if (frame.cursor) this.#cursors.set(frame.topic, frame.cursor)
  }

  #room(topic) {
    if (!this.rooms.has(topic)) this.rooms.set(topic, new Map())
    return this.rooms.get(topic)
  }

  #enter(topic, held, entry) {
    const previous = held.get(entry.ref)
    held.set(entry.ref, entry)
    if (!previous) this.#fire("join", { topic, entry })
    else if (JSON.stringify(previous) !== JSON.stringify(entry)) {
      this.#fire("update", { topic, entry, previous })
    }
  }

  #leave(topic, held, entry, reason) {
    held.delete(entry.ref)
    this.#fire("leave", { topic, entry, reason })
  }

  #status(frame) {
    const previous = this.statuses.get(frame.user)
    this.statuses.set(frame.user, frame)
    this.#fire("status", { status: frame, previous })
  }
}
