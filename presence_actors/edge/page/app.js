// The page: who is here, in which rooms, and what happens, as one gateway tells it.

import { Presence } from "./presence.js"

const EVENTS_MAX = 150
const PEOPLE_MAX = 300
const FACES_MAX = 12
const STATS_MS = 1_000
const ORDER = ["dnd", "online", "away", "unreachable", "unknown", "offline"]
const LEAVE_WORDS = {
  left: "left",
  timeout: "lost the connection",
  replaced: "was replaced",
  kicked: "was removed",
  gateway_lost: "went with a lost gateway",
  retired: "was retired",
  erased: "was erased",
}

const byId = (id) => document.getElementById(id)
const rooms = (new URLSearchParams(location.search).get("rooms") ?? "lobby,design,support,random")
  .split(",").map((name) => name.trim()).filter(Boolean)
  .map((name) => (name.startsWith("room:") ? name : `room:${name}`))
const roomName = (topic) => topic.replace(/^room:/, "")

let token = sessionStorage.getItem("presence-token") ?? "dev:viewer"
let presence = null
let settled = new Set()
/** {user: the last status that was none of doubt} */
const lastKnown = new Map()
const inDoubt = (status) => status === "unknown" || status === "unreachable"
let dirty = true

// --- small things --------------------------------------------------------------------------------

function make(tag, classes = "", text = "") {
  const element = document.createElement(tag)
  if (classes) element.className = classes
  if (text) element.textContent = text
  return element
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

function hue(name) {
  let sum = 7
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360
  return sum
}

function face(user, status, device = "") {
  const element = make("span", "face", [...user].slice(0, 2).join("").toUpperCase())
  element.style.setProperty("--hue", hue(user))
  element.dataset.status = status
  element.title = [user, status, device].filter(Boolean).join(" · ")
  element.role = "img"
  element.ariaLabel = [user, status, device].filter(Boolean).join(", ")
  return element
}

function ago(wallMs) {
  if (wallMs === undefined || wallMs === null) return ""
  const seconds = Math.max(0, Math.round((Date.now() + (presence?.skew ?? 0) - wallMs) / 1000))
  if (seconds < 60) return `${seconds} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
  return `${Math.floor(seconds / 86400)} d`
}

const clock = (wallMs) => new Date(wallMs).toLocaleTimeString([], { hour12: false })

// --- what is known -------------------------------------------------------------------------------

/** Everybody who has an entry in a room, or a status that is worth showing. */
function people() {
  const found = new Map()
  const doubted = new Set([...presence.views.values()].flatMap((view) => view.unreachable ?? []))
  for (const [topic, entries] of presence.rooms) {
    for (const entry of entries.values()) {
      const person = found.get(entry.key) ??
        { user: entry.key, entries: [], rooms: new Set(), devices: new Map() }
      found.set(entry.key, person)
      person.entries.push(entry)
      person.rooms.add(topic)
      person.devices.set(entry.device, (person.devices.get(entry.device) ?? 0) + 1)
    }
  }
  for (const person of found.values()) {
    const frame = presence.statuses.get(person.user)
    // Without a status of its own yet, a person whose entries are all in doubt is.
    const told = frame && frame.status !== "unknown"
    person.status = told ? frame.status : fold(person.entries, doubted)
    person.frame = frame ?? {}
    person.since = told && frame.since ? frame.since :
      Math.min(...person.entries.map((entry) => entry.since))
    person.shownDevices = frame?.devices?.length ? frame.devices : [...person.devices.keys()]
  }
  return [...found.values()].sort((left, right) =>
    ORDER.indexOf(left.status) - ORDER.indexOf(right.status) ||
    left.user.localeCompare(right.user))
}

function fold(entries, doubted) {
  const sure = entries.filter((entry) => !doubted.has(entry.ref))
  if (!sure.length) return "unreachable"
  for (const word of ["dnd", "online"]) {
    if (sure.some((entry) => entry.status === word)) return word
  }
  return "away"
}

// --- drawing -------------------------------------------------------------------------------------

const rows = new Map()

function personRow(user) {
  const row = make("tr")
  const [who, shows, devices, where, since] = Array.from({ length: 5 }, () => make("td"))
  const name = make("span", "name")
  name.append(make("b", "", user), make("i"))
  const person = make("span", "person")
  const picture = face(user, "")
  // The name stands beside it.
  picture.ariaHidden = "true"
  person.append(picture, name)
  who.append(person)
  shows.append(make("span", "pill"), make("small"))
  since.className = "right faint"
  where.append(make("span", "chips"))
  devices.className = "faint"
  row.append(who, shows, devices, where, since)
  return row
}

function drawPeople() {
  const all = people()
  const shown = all.slice(0, PEOPLE_MAX)
  const body = byId("people")
  const keep = new Set(shown.map((person) => person.user))
  for (const [user, row] of rows) {
    if (!keep.has(user)) {
      row.remove()
      rows.delete(user)
    }
  }
  shown.forEach((person, index) => {
    let row = rows.get(person.user)
    if (!row) rows.set(person.user, (row = personRow(person.user)))
    fillRow(row, person)
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null)
  })
  const more = all.length - shown.length
  setText(byId("people-count"), more > 0 ? `and ${more} more` : "")
  byId("people-empty").hidden = all.length > 0
  setText(byId("tile-people"), String(all.length))
  const devices = new Set()
  for (const entries of presence.rooms.values()) {
    for (const entry of entries.values()) devices.add(`${entry.key} ${entry.device}`)
  }
  setText(byId("tile-devices"), String(devices.size))
}

function fillRow(row, person) {
  const [who, shows, devices, where, since] = row.children
  row.dataset.status = person.status
  who.querySelector(".face").dataset.status = person.status
  const { text = "", emoji = "", as_of: asOf } = person.frame
  setText(who.querySelector("i"), [emoji, text].filter(Boolean).join(" "))
  const [pill, note] = shows.children
  pill.dataset.status = person.status
  setText(pill, person.status)
  setText(note, asOf ? `as of ${clock(asOf)}` : "")
  setText(devices, person.shownDevices.join(", "))
  const names = [...person.rooms].map(roomName).sort()
  if (where.dataset.names !== names.join()) {
    where.dataset.names = names.join()
    where.firstChild.replaceChildren(...names.map((name) => make("span", "chip", name)))
  }
  setText(since, ago(person.since))
}

function drawRooms() {
  const list = byId("rooms")
  const items = [...presence.rooms].map(([topic, entries]) => {
    const item = make("li")
    const view = presence.views.get(topic)
    const inDoubt = new Set(view?.unreachable ?? [])
    const head = make("p")
    head.append(make("b", "", roomName(topic)), make("span", "count", String(entries.size)))
    if (view && view.quality !== "complete") head.append(make("span", "doubt", view.quality))
    const faces = make("p", "faces")
    const sorted = [...entries.values()].sort((left, right) => left.key.localeCompare(right.key))
    for (const entry of sorted.slice(0, FACES_MAX)) {
      const status = inDoubt.has(entry.ref) ? "unreachable" : entry.status
      faces.append(face(entry.key, status, entry.device))
    }
    if (sorted.length > FACES_MAX) faces.append(make("span", "more", `+${sorted.length - FACES_MAX}`))
    if (!sorted.length) faces.append(make("span", "faint", "empty"))
    item.append(head, faces)
    return item
  })
  list.replaceChildren(...items)
}

/** What cannot be heard, as far as any room says: a zone, or a process of our own zone. */
function silentParts() {
  const views = [...presence.views.values()]
  return [...new Set(views.flatMap((view) => view.silent ?? []))].sort()
}

const partName = (part) => (part.includes("/") ? part : `zone ${part}`)
const capital = (words) => words[0].toUpperCase() + words.slice(1)

let silentBefore = []
/** One line for a cut and one for its end, however many people it is about. */
function tellOfSilence() {
  const now = silentParts()
  const fresh = now.filter((part) => !silentBefore.includes(part))
  const back = silentBefore.filter((part) => !now.includes(part))
  silentBefore = now
  for (const part of fresh) tell("lost", [[partName(part), true], [" cannot be heard: its people are unreachable"]])
  for (const part of back) tell("back", [[partName(part), true], [" is heard again"]])
}

function drawBanner() {
  const doubtful = [...presence.views.values()].filter((view) => view.quality !== "complete")
  const banner = byId("banner")
  banner.hidden = doubtful.length === 0
  const starting = doubtful.filter((view) => view.quality === "starting")
  const partial = doubtful.filter((view) => view.quality === "partial")
  const parts = []
  if (partial.length) {
    const asOf = Math.min(...partial.map((view) => view.as_of ?? Infinity))
    const since = Number.isFinite(asOf) ? ` since ${clock(asOf)}` : ""
    const silent = silentParts()
    const who = silent.length ? silent.map(partName).join(" and ") : "Part of the service"
    const verb = silent.length > 1 ? "have" : "has"
    parts.push(`${capital(who)} ${verb} not been heard here${since}. People there show as ` +
      "unreachable: they may well be online, but that cannot be seen from here.")
  }
  if (starting.length) {
    const names = starting.map((view) => roomName(view.scope)).join(", ")
    parts.push(`Still loading: ${names}.`)
  }
  setText(banner, parts.join(" "))
}

function draw() {
  if (!dirty || !presence) return
  dirty = false
  drawPeople()
  drawRooms()
  drawBanner()
}

function tell(kind, parts) {
  const line = make("li")
  line.dataset.kind = kind
  const text = make("span")
  for (const [word, strong] of parts) text.append(strong ? make("b", "", word) : word)
  line.append(make("time", "", clock(Date.now() + (presence?.skew ?? 0))), make("i"), text)
  const list = byId("events")
  list.prepend(line)
  while (list.children.length > EVENTS_MAX) list.lastChild.remove()
  byId("events-empty").hidden = true
}

// --- listening -----------------------------------------------------------------------------------

const STATES = { connecting: "connecting", live: "live", lost: "reconnecting", ended: "closed" }

function showLink(state, words = "") {
  const link = byId("link")
  link.dataset.state = state
  // What is shown stays, but is no news any more.
  document.body.classList.toggle("stale", state !== "live")
  setText(link, words || STATES[state])
}

function listen() {
  const on = (kind, handler) => presence.addEventListener(kind, ({ detail }) => {
    handler(detail)
    dirty = true
  })
  on("link", ({ state, retryMs, reason, resumed }) => {
    if (state === "lost") {
      showLink(state, `reconnecting in ${(retryMs / 1000).toFixed(1)} s${reason ? ` (${reason})` : ""}`)
      return
    }
    showLink(state, resumed ? "live (resumed)" : "")
    if (state === "live") {
      setText(byId("gateway"), presence.welcome.gateway)
      byId("token-form").hidden = true
    }
  })
  on("ended", ({ code, reason }) => {
    showLink("ended", `closed (${code})`)
    if (code === 4401) askForToken(reason)
    else tell("leave", [[`The gateway closed the connection: ${reason} (${code}).`]])
  })
  on("snap", ({ topic }) => {
    settled.add(topic)
    watchPeople()
  })
  on("join", ({ topic, entry }) => {
    // The first snapshot of a room is where we begin, not what happened.
    if (!settled.has(topic)) return
    tell("join", [[entry.key, true], [" came into "], [roomName(topic), true], [` (${entry.device})`]])
    watchPeople()
  })
  on("update", ({ topic, entry, previous }) => {
    const change = entry.status !== previous.status ?
      `${previous.status} → ${entry.status}` : changedMeta(previous.meta, entry.meta)
    tell("update", [[entry.key, true], [` in ${roomName(topic)}: ${change}`]])
  })
  on("leave", ({ topic, entry, reason }) => {
    const words = LEAVE_WORDS[reason] ?? "is gone from"
    const joined = words === "left" || words === "is gone from" ? ` ${words} ` : ` ${words}: `
    tell("leave", [[entry.key, true], [joined], [roomName(topic), true], [` (${entry.device})`]])
  })
  on("status", ({ status }) => {
    const known = lastKnown.get(status.user)
    if (inDoubt(status.status)) return
    lastKnown.set(status.user, status.status)
    // Who shows after a doubt what was shown before it has done nothing.
    if (!known || known === status.status) return
    const why = status.reason ? `, ${LEAVE_WORDS[status.reason] ?? status.reason}` : ""
    tell("status", [[status.user, true], [`: ${known} → ${status.status}${why}`]])
  })
  on("view", tellOfSilence)
  on("refused", ({ code, message }) => tell("leave", [[`${code}: ${message}`]]))
}

function changedMeta(before = {}, after = {}) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]))
  const word = (value) => (value === undefined ? "removed" : String(JSON.stringify(value)).slice(0, 40))
  return names.map((name) => `${name} ${word(after[name])}`).join(", ") || "changed"
}

let watching = false
function watchPeople() {
  // Once for all who came in one turn.
  if (watching) return
  watching = true
  queueMicrotask(() => {
    watching = false
    const users = new Set()
    for (const entries of presence.rooms.values()) {
      for (const entry of entries.values()) users.add(entry.key)
    }
    presence.watchUsers([...users].slice(0, PEOPLE_MAX))
  })
}

function askForToken(reason) {
  byId("token-form").hidden = false
  setText(byId("token-error"), token === "dev:viewer" ? "" : reason)
  byId("token").focus()
}

function start() {
  settled = new Set()
  const url = new URL("/ws", location.href)
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:"
  presence = new Presence(url, { token })
  listen()
  presence.watchRooms(rooms)
  presence.open()
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault()
  token = byId("token").value.trim()
  sessionStorage.setItem("presence-token", token)
  presence.close()
  start()
})
addEventListener("pagehide", () => presence.close())
addEventListener("pageshow", (event) => event.persisted && start())

// --- numbers -------------------------------------------------------------------------------------

let before = null

async function poll() {
  const headers = token === "dev:viewer" ? {} : { Authorization: `Bearer ${token}` }
  try {
    const response = await fetch("/v1/stats", { headers })
    if (response.ok) showStats(await response.json())
  } catch {
    before = null
  }
  setTimeout(poll, STATS_MS)
}

function showStats({ machine }) {
  const now = performance.now()
  const rate = (name) => {
    if (!before || machine[name] === undefined) return "–"
    const perSecond = (machine[name] - before.machine[name]) / ((now - before.now) / 1000)
    return perSecond < 0 ? "–" : perSecond.toFixed(perSecond < 10 ? 1 : 0)
  }
  const number = (value) => (value === undefined ? "–" : String(value))
  setText(byId("tile-sessions"), number(machine.sessions))
  setText(byId("tile-lingering"), number(machine.lingering))
  setText(byId("tile-changes"), rate("changes_in"))
  setText(byId("tile-deliveries"), rate("deliveries_out"))
  const shards = machine.attachments ?? []
  const ready = shards.filter((shard) => shard.attached && shard.ready).length
  showZones(machine.node?.split("/")[0] ?? "", machine.zones ?? [])
  setText(byId("tile-shards"), shards.length ? `${ready} of ${shards.length}` : "–")
  before = { machine, now }
}

function showZones(own, others) {
  const items = [zoneItem(own, "here", "this page's zone"), ...others.map((zone) => {
    if (zone.lag_ms === null) return zoneItem(zone.zone, "silent", "not heard yet")
    const seconds = (zone.lag_ms / 1000).toFixed(1)
    if (!zone.silent) return zoneItem(zone.zone, "heard", `${zone.lag_ms} ms ago`)
    return zoneItem(zone.zone, "silent", `not heard since ${clock(zone.heard)}, ${seconds} s`)
  })]
  byId("zones").replaceChildren(...items)
}

function zoneItem(name, state, words) {
  const item = make("li")
  item.dataset.zone = name
  item.dataset.state = state
  item.append(make("i"), make("b", "", name), make("span", "", words))
  return item
}

start()
poll()
setInterval(draw, 200)
setInterval(() => (dirty = true), 1_000)
