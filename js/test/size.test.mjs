// What a page has to load.

import assert from "node:assert/strict"
import { readFile } from "node:fs/promises"
import { test } from "node:test"
import { gzipSync } from "node:zlib"

import { minify } from "terser"

const SOURCE = new URL("../presence.js", import.meta.url)

test("as bundlers deliver it, it has less than 4 kB", async () => {
  const { code } = await minify(await readFile(SOURCE, "utf8"), { module: true, ecma: 2022 })
  const bytes = gzipSync(code, { level: 9 }).length
  assert.ok(bytes < 4_000, `${bytes} bytes, minified and gzipped`)
})

test("it imports nothing", async () => {
  assert.doesNotMatch(await readFile(SOURCE, "utf8"), /\bimport\b/)
})
