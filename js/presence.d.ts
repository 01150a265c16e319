/** A value of JSON, such as an application shows in its meta. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type Meta = { [key: string]: Json }

/** One device of one user in one room. `ref` is the same at every gateway and on every return. */
export interface Entry {
  ref: string
  key: string
  status: "online" | "away" | "dnd"
  device: string
  since: number
  meta: Meta
}

/** How much of a room's truth can be seen now; entries named in `unreachable` are in doubt. */
export interface View {
  quality: "complete" | "partial" | "starting"
  silent?: string[]
  as_of?: number
  unreachable?: string[]
}

/** What a user shows, on all devices together. */
export interface Status {
  user: string
  status: "online" | "away" | "dnd" | "offline" | "unreachable" | "unknown"
  devices?: string[]
  text?: string
  emoji?: string
  since?: number
  as_of?: number
  last_seen?: number
  reason?: string
}

export interface JoinEvent {
  user: string
  entry: Entry
}
export interface UpdateEvent extends JoinEvent {
  previous: Entry
}
/** `reason` is empty if the entry went while this client was not connected. */
export interface LeaveEvent extends JoinEvent {
  reason: "" | "left" | "timeout" | "replaced" | "kicked" | "gateway_lost" | "retired" | "erased"
}
export interface StatusEvent {
  user: string
  status: Status
  previous?: Status
}
export type LinkEvent =
  | { state: "live"; resumed: boolean }
  | { state: "lost"; reason: string; retryMs: number }
  | { state: "ended"; code: number; reason: string }

/** Call it to hear no more. */
export type Stop = () => void

/** Why a request was refused; nothing of it has happened. */
export class PresenceError extends Error {
  readonly name: "PresenceError"
  readonly code: string | number
  readonly retryAfterMs?: number
}

/** A room that this client is in, or only observes. Handlers are told net changes only. */
export interface Room {
  readonly topic: string
  /** Every device in the room, by its `ref`. */
  readonly entries: ReadonlyMap<string, Entry>
  readonly view: View
  /** Whether the picture was confirmed on the present connection. */
  readonly synced: boolean
  /** What this device shows here; undefined if it is not in the room. */
  readonly meta: Meta | undefined
  /** Settled once it is known who is here, or that it will not be told. */
  readonly ready: Promise<Room>
  /** The users in the room, each with their devices, the oldest first. */
  who(): Map<string, Entry[]>
  onJoin(handler: (event: JoinEvent) => void): Stop
  onUpdate(handler: (event: UpdateEvent) => void): Stop
  onLeave(handler: (event: LeaveEvent) => void): Stop
  /** When the room is first known, and after each batch of changes: the moment to draw it. */
  onSync(handler: (room: Room) => void): Stop
  onView(handler: (view: View) => void): Stop
  /** Be in the room and show this, and nothing of what was shown before. */
  set(meta?: Meta): Promise<void>
  /** Change some fields of what is shown (a JSON merge patch); null removes. */
  patch(fields: Meta): Promise<void>
  /** Be in the room no more, at once, and go on observing it. */
  unset(): Promise<void>
  /** Be in the room no more, and watch it no more. */
  leave(): Promise<void>
}

/** Users that are watched, wherever they are. */
export interface Watch {
  readonly users: ReadonlySet<string>
  readonly statuses: Map<string, Status>
  onStatus(handler: (event: StatusEvent) => void): Stop
  add(users: string[]): Promise<unknown>
  close(): void
}

export interface Options {
  /** Who the client is; a function is asked for each connection. */
  token: string | (() => string | Promise<string>)
  /** What it runs on: `web` unless said otherwise. */
  device?: string
  /** What the device shows at first: `online` unless said otherwise. */
  status?: "online" | "away" | "dnd"
  /** The platform's, unless handed in: Node.js below 22 has none. */
  WebSocket?: unknown
  /** Spreads waits; for tests. */
  random?: () => number
}

export interface Client {
  readonly connected: boolean
  readonly user: string | undefined
  /** What the gateway said at the last greeting. */
  readonly welcome: { session: string; gateway: string; server_ms: number } | null
  /** Why the session is over; null while it is not. */
  readonly ended: { code: number; message: string } | null
  /** Be in a room and watch it. */
  join(room: string, meta?: Meta): Room
  /** Watch a room without being in it. */
  observe(room: string): Room
  watch(users: string | string[]): Watch
  /** What this device shows, in all rooms. */
  setStatus(status: "online" | "away" | "dnd"): Promise<void>
  /** What the user shows on all devices; nothing takes the choice back. */
  setIntent(intent?: {
    status?: "" | "away" | "dnd" | "invisible"
    text?: string
    emoji?: string
    until?: number
  }): Promise<void>
  onLink(handler: (event: LinkEvent) => void): Stop
  /** What a gateway had granted before and refuses after a reconnect. */
  onRefused(handler: (error: PresenceError) => void): Stop
  /** Say goodbye: others see this device leave now. */
  close(): void
}

/** A client of these gateways; it connects at once, and for as long as it is not closed. */
export function connect(urls: string | string[], options: Options): Client
