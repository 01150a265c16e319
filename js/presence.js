// Who is here right now: a client of the native protocol of presence-actors.
//
// The application's wishes (rooms joined, what is watched, the status) outlive connections and are
// said again on each new one; what was asked and not answered is asked again. A room's picture
// outlives them, too: whatever comes after a return, only its difference to the picture is told.

const SUBPROTOCOL = "presence.v1.json"
const QUICK_MS = 1_000
const RETRY_MS_MAX = 60_000
const GREETING_MS = 10_000
const AGAIN_MS = 1_000
const STEADY_MS = 5_000
const NAMES_PER_FRAME = 50
const WAITING_MAX = 1_000
const DRAINED = 1012

export class PresenceError extends Error {
  constructor({ code, message, retry_after_ms: retryAfterMs }) {
    super(message)
    Object.assign(this, { name: "PresenceError", code, retryAfterMs })
  }
}

/** A JSON merge patch (RFC 7396). */
const merged = (target, patch) => {
  const fields = new Map(Object.entries(isObject(target) ? target : {}))
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) fields.delete(key)
    else fields.set(key, isObject(value) ? merged(fields.get(key), value) : value)
  }
  return Object.fromEntries(fields)
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value)

// All gateways spell an entry's fields in one order, and a meta's in the order of its author.
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other)

const addressOf = (given) => {
  const url = new URL(given)
  url.protocol = url.protocol.replace("http", "ws")
  if (url.pathname === "/") url.pathname = "/ws"
  return url.href
}

/** What a handler throws is the application's: reported as of any listener, no harm to others. */
class Source extends EventTarget {
  _on(kind, handler) {
    const listener = ({ detail }) => handler(detail)
    this.addEventListener(kind, listener)
    return () => this.removeEventListener(kind, listener)
  }

  _fire(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }))
  }
}

class Room extends Source {
  #client

  constructor(client, topic) {
    super()
    this.#client = client
    this.topic = topic
    this.entries = new Map()
    this.view = { quality: "complete" }
    this.synced = false
    this.ready = new Promise((resolve, reject) => {
      this._settle = { resolve, reject }
    })
    this.ready.catch(() => {})
    this._parts = []
    this._heard = false
  }

  onJoin = (handler) => this._on("join", handler)
  onUpdate = (handler) => this._on("update", handler)
  onLeave = (handler) => this._on("leave", handler)
  onSync = (handler) => this._on("sync", handler)
  onView = (handler) => this._on("view", handler)

  get meta() {
    return this.#client._meta(this.topic)
  }

  who() {
    const users = new Map()
    const entries = [...this.entries.values()].sort((a, b) => a.since - b.since)
    for (const entry of entries) users.set(entry.key, [...(users.get(entry.key) ?? []), entry])
    return users
  }

  set(meta = {}) {
    return this.#client._ask({ type: "set", topic: this.topic, meta })
  }

  patch(meta) {
    return this.#client._ask({ type: "patch", topic: this.topic, meta })
  }

  unset() {
    return this.#client._ask({ type: "unset", topic: this.topic })
  }

  async leave() {
    this.#client._forget(this.topic)
    if (this.meta) await this.unset()
  }

  _lapse() {
    this.synced = this._heard = false
    this._parts = []
  }

  /** Whether it continues what was held. */
  _snap({ state, part = 0, last = true, cursor }) {
    if (part === 0) this._parts = []
    if (part !== this._parts.length) return false
    this._parts.push(state)
    if (!last) return true
    const whole = new Map(this._parts.flat().map((entry) => [entry.ref, entry]))
    this._parts = []
    const gone = [...this.entries.keys()].filter((ref) => !whole.has(ref))
    this._change(gone.map((ref) => ({ ref, reason: "" })), whole.values(), true)
    this.cursor = cursor
    return true
  }

  _diff({ joins = [], updates = [], leaves = [], resumed = false, cursor, check }) {
    // Until it is known what it continues, a difference says nothing.
    if (!this.synced && !resumed) return true
    this.cursor = cursor ?? this.cursor
    this._change(leaves, [...joins, ...updates], resumed)
    if (!check) return true
    const sum = [...this.entries.keys()].reduce((all, ref) => all ^ BigInt(`0x${ref}`), 0n)
    return sum.toString(16) === check
  }

  _view(view) {
    this._heard = true
    const { quality, silent, unreachable } = this.view
    this.view = view
    if (!isSame([quality, silent, unreachable], [view.quality, view.silent, view.unreachable])) {
      this._fire("view", view)
    }
  }

  /** The handlers see the picture as it is when all of the frame has been taken in. */
  _change(leaves, entries, isWhole) {
    const events = []
    for (const { ref, reason } of leaves) {
      const entry = this.entries.get(ref)
      if (this.entries.delete(ref)) events.push(["leave", { user: entry.key, entry, reason }])
    }
    for (const entry of entries) {
      const previous = this.entries.get(entry.ref)
      this.entries.set(entry.ref, entry)
      if (!previous) events.push(["join", { user: entry.key, entry }])
      else if (!isSame(previous, entry)) {
        events.push(["update", { user: entry.key, entry, previous }])
      }
    }
    const isFirst = isWhole && !this._known
    if (isWhole) {
      this._known = this.synced = true
      // A gateway that sees less than all would have said so before.
      if (!this._heard) this._view({ quality: "complete" })
    }
    for (const event of events) this._fire(...event)
    if (isFirst || events.length) this._fire("sync", this)
    if (isWhole) this._settle.resolve(this)
  }
}

class Watch extends Source {
  #client

  constructor(client) {
    super()
    this.#client = client
    this.users = new Set()
  }

  onStatus = (handler) => this._on("status", handler)

  get statuses() {
    const known = [...this.users].map((user) => [user, this.#client._users.get(user)])
    return new Map(known.filter(([, status]) => status))
  }

  add(users) {
    const fresh = users.map((user) => user.normalize())
    for (const user of fresh) this.users.add(user)
    return this.#client._watch(fresh)
  }

  close() {
    this.#client._unwatch(this)
  }
}

class Client extends Source {
  #given
  #learnt = []
  #url
  #options
  #socket = null
  #isStanding = false
  #timer
  #attempts = 0
  #resume = 0
  #since = 0
  #heardAt = 0
  #usedAt = Date.now()
  #goaway = null
  #error = null
  #status
  #ids = 0
  /** What was granted: {topic: {meta, since}}. */
  #rooms = new Map()
  /** What has no answer yet, in the order of asking: {id: {frame, waiting, isAgain}}. */
  #flights = new Map()
  #held = new Map()
  #watches = new Set()
  _users = new Map()

  constructor(urls, options) {
    super()
    this.#given = [urls].flat().map(addressOf)
    this.#url = this.#given[0]
    this.#options = { device: "web", WebSocket: globalThis.WebSocket, random: Math.random, ...options }
    if (!this.#options.WebSocket) throw new TypeError("there is no WebSocket here: hand one in")
    this.#status = this.#options.status ?? "online"
    this.welcome = null
    this.ended = null
    this.#dial()
  }

  onLink = (handler) => this._on("link", handler)
  onRefused = (handler) => this._on("refused", handler)

  get connected() {
    return this.#isStanding
  }

  get user() {
    return this.welcome?.user
  }

  join(name, meta = {}) {
    const room = this.observe(name)
    room.set(meta).catch(room._settle.reject)
    return room
  }

  observe(name) {
    const topic = `room:${name.replace(/^room:/, "")}`.normalize()
    let room = this.#held.get(topic)
    if (!room) {
      room = new Room(this, topic)
      this.#held.set(topic, room)
      this._ask({ type: "sub", topics: [topic] }).catch(room._settle.reject)
    }
    return room
  }

  watch(users) {
    const watch = new Watch(this)
    this.#watches.add(watch)
    watch.add([users].flat()).catch((error) => this._fire("refused", error))
    return watch
  }

  setStatus(status) {
    return this._ask({ type: "set", status })
  }

  setIntent(intent = {}) {
    return this._ask({ type: "intent", ...intent })
  }

  close() {
    if (this.#isStanding) this.#say({ type: "bye" })
    this.#end(1000, "closed")
  }

  // What rooms and watches need.

  _meta(topic) {
    let meta = this.#rooms.get(topic)?.meta
    for (const { frame } of this.#flights.values()) {
      if (frame.topic === topic) meta = wished(meta, frame)
    }
    return meta
  }

  _watch(users) {
    const fresh = users.filter((user) => !this._users.has(user))
    for (const user of fresh) this._users.set(user, undefined)
    return Promise.all(inParts(fresh).map((part) => this._ask({ type: "sub", users: part })))
  }

  _unwatch(watch) {
    this.#watches.delete(watch)
    const users = [...watch.users].filter(
      (user) => this._users.has(user) && ![...this.#watches].some((other) => other.users.has(user)),
    )
    for (const user of users) this._users.delete(user)
    for (const part of inParts(users)) this.#say({ type: "unsub", users: part })
  }

  _forget(topic) {
    if (this.#held.delete(topic)) this.#say({ type: "unsub", topics: [topic] })
  }

  _ask(frame) {
    if (frame.type !== "sub") this.#usedAt = Date.now()
    return new Promise((resolve, reject) => {
      if (this.ended) reject(new PresenceError(this.ended))
      else if (this.#flights.size >= WAITING_MAX) {
        reject(new PresenceError({ code: "too_many", message: "too many requests" }))
      } else this.#launch(frame, [{ resolve, reject }])
    })
  }

  #launch(frame, waiting, isAgain = false) {
    const id = ++this.#ids
    this.#flights.set(id, { frame, waiting, isAgain })
    this.#say({ ...frame, id })
  }

  #say(frame) {
    if (!this.#isStanding) return
    this.#socket.send(JSON.stringify(frame))
    this.#beat()
  }

  // Connections.

  #urls() {
    return [...new Set([...this.#given, ...this.#learnt, this.#url])]
  }

  #learn(urls = []) {
    // Never from an encrypted connection to a plain one: the token could be read.
    const isSecure = this.#given[0].startsWith("wss:")
    this.#learnt = urls.map(addressOf).filter((url) => url.startsWith("wss:") || !isSecure)
  }

  #dial() {
    this.#attempts += 1
    const socket = (this.#socket = new this.#options.WebSocket(this.#url, SUBPROTOCOL))
    const mine = (handle) => (event) => {
      if (socket === this.#socket) handle(event)
    }
    this.#timer = setTimeout(mine(() => this.#giveUp("no welcome")), GREETING_MS)
    socket.onopen = mine(() => this.#greet(socket))
    socket.onmessage = mine(({ data }) => this.#hear(JSON.parse(data)))
    socket.onclose = mine(({ code, reason }) => this.#lost(code, reason))
    socket.onerror = () => {} // Its closing follows.
  }

  async #greet(socket) {
    const { token: given, device } = this.#options
    try {
      const token = typeof given === "function" ? await given() : given
      if (socket !== this.#socket) return
      const session = this.welcome?.session
      const resume = session && ++this.#resume
      const idle = Date.now() - this.#usedAt
      const hello = { token, device, status: this.#status, idle_ms: idle, session, resume }
      socket.send(JSON.stringify({ type: "hello", ...hello }))
    } catch (error) {
      if (socket === this.#socket) this.#giveUp(`no token: ${error.message}`)
    }
  }

  #giveUp(reason) {
    const socket = this.#socket
    this.#lost(4000, reason)
    socket?.close()
  }

  #lost(code, reason) {
    const stood = this.#isStanding
    const words = this.#error?.message ?? reason
    this.#isStanding = false
    this.#socket = null
    clearTimeout(this.#timer)
    const isRenewable = stood && typeof this.#options.token === "function"
    if (code >= 4400 && code < 4500 && !(code === 4401 && isRenewable)) {
      this.#end(code, words)
      return
    }
    for (const room of this.#held.values()) room._lapse()
    if (stood && Date.now() - this.#since >= STEADY_MS) this.#attempts = 0
    const wait = this.#waitMs(stood, code)
    const urls = this.#urls()
    this.#url = urls[(urls.indexOf(this.#url) + 1) % urls.length]
    this.#goaway = this.#error = null
    this.#timer = setTimeout(() => this.#dial(), wait)
    if (stood) this._fire("link", { state: "lost", reason: words, retryMs: wait })
  }

  /** Full jitter: those who lost the same gateway must not come back in one moment. */
  #waitMs(stood, code) {
    const count = this.#urls().length
    const grace = this.welcome?.grace_ms ?? QUICK_MS * 10
    const quick = Math.min(QUICK_MS, grace / 10, grace / (2 * count))
    const failures = this.#attempts - (stood ? 1 : 0)
    let bound = Math.min(quick * 2 ** Math.max(0, failures - count + 1), RETRY_MS_MAX)
    let least = this.#error?.retry_after_ms ?? 0
    if (code === DRAINED || this.#goaway) {
      least = this.#goaway?.retry_in_ms ?? least
      bound = Math.max(quick, Math.min(this.#goaway ? (this.#goaway.jitter_ms ?? 0) : QUICK_MS * 10, (grace * 2) / 3))
    }
    return least + this.#options.random() * bound
  }

  #end(code, reason) {
    if (this.ended) return
    this.ended = { code, message: reason }
    this.#isStanding = false
    clearTimeout(this.#timer)
    const socket = this.#socket
    this.#socket = null
    socket?.close()
    const error = new PresenceError(this.ended)
    for (const { waiting } of this.#flights.values()) settle(waiting, "reject", error)
    this.#flights.clear()
    for (const room of this.#held.values()) room._settle.reject(error)
    this._fire("link", { state: "ended", code, reason })
  }

  #beat() {
    clearTimeout(this.#timer)
    const { heartbeat_ms: every, lease_ms: lease } = this.welcome
    this.#timer = setTimeout(() => {
      if (Date.now() - this.#heardAt >= lease) this.#giveUp("nothing heard in time")
      else this.#say({ type: "ping", t: Date.now() })
    }, every * (0.8 + 0.4 * this.#options.random()))
  }

  // What the gateway says.

  #hear(frame) {
    this.#heardAt = Date.now()
    const room = this.#held.get(frame.topic ?? frame.scope)
    switch (frame.type) {
      case "welcome":
        return this.#welcomed(frame)
      case "ok":
        return this.#answered(frame.id, frame)
      case "err":
        if (frame.id !== undefined) return this.#answered(frame.id, frame)
        this.#error = frame
        return
      case "snap":
        if (room && !room._snap(frame)) this.#giveUp("a part of a snapshot is missing")
        return
      case "diff":
        if (room && !room._diff(frame)) this.#launch({ type: "sub", topics: [room.topic] }, [], true)
        return
      case "view":
        return room?._view(frame)
      case "status":
        return this.#statusCame(frame)
      case "goaway":
        this.#goaway = frame
        if (frame.gateways) this.#learn(frame.gateways)
    }
  }

  #statusCame({ type, ...status }) {
    const { user } = status
    if (!this._users.has(user)) return
    const previous = this._users.get(user)
    this._users.set(user, status)
    // The time of a doubt moves while nothing changes for people, and a reason may be unknown here.
    if (previous && isSame(shownBy(previous), shownBy(status))) return
    for (const watch of this.#watches) {
      if (watch.users.has(user)) watch._fire("status", { user, status, previous })
    }
  }

  #welcomed(welcome) {
    const resumed = this.welcome?.session === welcome.session
    this.#resume = resumed ? Math.max(this.#resume, welcome.resume ?? 0) : (welcome.resume ?? 0)
    this.welcome = welcome
    this.#isStanding = true
    this.#since = Date.now()
    this.#error = null
    this.#learn(welcome.gateways)
    this.#beat()
    this._fire("link", { state: "live", resumed })
    if (this.#isStanding) this.#restate(resumed)
  }

  /** Say everything again: the final wish and not its history, and each request gets its answer. */
  #restate(resumed) {
    const before = [...this.#flights.values()]
    const topics = new Set([...this.#rooms.keys(), ...before.map(({ frame }) => frame.topic)])
    const metas = new Map([...topics].map((topic) => [topic, this._meta(topic)]))
    topics.delete(undefined)
    this.#flights.clear()
    for (const topic of topics) {
      const about = before.filter(({ frame }) => frame.topic === topic)
      const room = this.#rooms.get(topic)
      const meta = metas.get(topic)
      const since = resumed ? room?.since : undefined
      const frame = meta ? { type: "set", topic, meta, since } : { type: "unset", topic }
      this.#launch(frame, waitingOf(about), true)
    }
    const subs = [...this.#held].map(([topic, { cursor }]) => ({ topics: [topic], cursor }))
    subs.push(...inParts([...this._users.keys()]).map((users) => ({ users })))
    for (const sub of subs) this.#launch({ type: "sub", ...sub }, [], true)
    for (const { frame, waiting } of before) {
      if (frame.type === "intent" || frame.status) this.#launch(frame, waiting)
      // What is watched is said again as a whole, and a refusal of that is told as such.
      if (frame.type === "sub") settle(waiting, "resolve")
    }
  }

  #answered(id, answer) {
    const flight = this.#flights.get(id)
    if (!flight) return
    const { frame, waiting, isAgain } = flight
    const isNotNow = answer.code === "unavailable" || answer.code === "rate_limited"
    if (isAgain && isNotNow) {
      const socket = this.#socket
      setTimeout(() => {
        if (socket === this.#socket && this.#flights.has(id)) this.#say({ ...frame, id })
      }, Math.max(answer.retry_after_ms ?? 0, AGAIN_MS))
      return
    }
    this.#flights.delete(id)
    if (answer.type === "ok" || (isAgain && frame.type === "unset")) {
      this.#granted(frame, answer)
      settle(waiting, "resolve")
    } else {
      const error = new PresenceError(answer)
      settle(waiting, "reject", error)
      if (isAgain) this.#withdrawn(frame, error)
    }
  }

  #granted(frame, { since }) {
    if (frame.type === "set" && frame.status) this.#status = frame.status
    if (!frame.topic) return
    const room = this.#rooms.get(frame.topic)
    const meta = wished(room?.meta, frame)
    if (meta) this.#rooms.set(frame.topic, { meta, since: since ?? room?.since })
    else this.#rooms.delete(frame.topic)
  }

  /** A gateway does not grant any more what was granted before. */
  #withdrawn({ type, topic, topics = [], users = [] }, error) {
    if (type === "set") this.#rooms.delete(topic)
    for (const name of topics) {
      this.#held.get(name)?._settle.reject(error)
      this.#held.delete(name)
    }
    for (const user of users) this._users.delete(user)
    this._fire("refused", error)
  }
}

const wished = (meta, { type, meta: given }) => {
  if (type === "set") return given
  return type === "patch" ? merged(meta, given) : undefined
}

const shownBy = ({ status, devices, text, emoji, since, last_seen: seen }) => [
  status, devices, text, emoji, since, seen,
]

const inParts = (names) =>
  names.length ? [names.slice(0, NAMES_PER_FRAME), ...inParts(names.slice(NAMES_PER_FRAME))] : []

const waitingOf = (flights) => flights.flatMap(({ waiting }) => waiting)

const settle = (waiting, how, value) => {
  for (const one of waiting) one[how](value)
}

export const connect = (urls, options) => new Client(urls, options)
