// Checked by the compiler and never run: what an application writes has these types.
import { connect, PresenceError, type Entry, type Status } from "presence-actors"

const client = connect(["wss://one.example", "wss://two.example"], {
  token: async () => "a token",
  device: "web",
})
const room = client.join("lobby", { mood: "curious", lines: [1, 2] })
const stop: () => void = room.onJoin(({ user, entry }) => console.log(user, entry.meta.mood))
room.onUpdate(({ entry, previous }) => console.log(entry.status, previous.status))
room.onLeave(({ user, reason }) => console.log(user, reason === "timeout"))
room.onSync((synced) => synced.who().forEach((entries: Entry[], user: string) => console.log(user, entries)))
room.onView(({ quality }) => console.log(quality))
stop()

await room.ready
await room.patch({ mood: null })
await room.set({ mood: "calm" }).catch((error: PresenceError) => console.log(error.code))
await client.setStatus("away")
await client.setIntent({ status: "invisible", until: Date.now() + 60_000 })

const watch = client.watch(["bob", "carol"])
const bob: Status | undefined = watch.statuses.get("bob")
watch.onStatus(({ user, status }) => console.log(user, status.status, bob))
client.onLink((event) => {
  if (event.state === "lost") console.log(event.retryMs)
})

// @ts-expect-error a status is one of three words
client.setStatus("busy")
// @ts-expect-error a meta is JSON
room.set({ when: new Date() })
// @ts-expect-error there is no client without a token
connect("wss://one.example", {})
client.close()
