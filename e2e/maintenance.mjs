// Scenes of planned work: a file is there, and visitors wait for its end.

import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { looksRight } from './appearance.mjs'
import { directory } from './site.mjs'

// becomes asks until the site answers with status. The file is looked at once per second.
async function becomes (base, status) {
  const deadline = performance.now() + 10_000
  for (;;) {
    const response = await fetch(base, { redirect: 'manual' })
    await response.arrayBuffer()
    if (response.status === status) return
    assert.ok(performance.now() < deadline, `status ${response.status} instead of ${status}`)
  }
}

// aMaintenance begins and ends by a file; the visitors' pages find out by themselves.
async function aMaintenance ({ site }) {
  const file = join(directory, 'maintenance')
  const { origin, base, visit } = await site('-maintenance-file', file)
  await becomes(base, 200)
  writeFileSync(file, '')
  await becomes(base, 503)
  const before = origin.seen.length

  const v = await visit({ clock: true })
  const response = await v.goto('/')
  assert.equal(response.status(), 503)
  assert.equal(response.headers()['retry-after'], undefined)
  const heading = await v.page.getByRole('heading', { level: 1 }).innerText()
  assert.notEqual(heading, 'The site')
  await v.pass(60, () => v.count('HEAD /') === 2)
  assert.equal(v.count('HEAD /'), 2)
  assert.equal(origin.seen.length, before, 'the origin is left alone')

  const another = await visit()
  await another.goto('/')
  await looksRight(another, 'maintenance')

  rmSync(file)
  await becomes(base, 200)
  await v.pass(60, () => v.count('GET /') === 2)
  await v.page.getByRole('heading', { name: 'The site' }).waitFor()
}

// aMaintenanceWithAnEnd says until when, and the page waits for it.
async function aMaintenanceWithAnEnd ({ site }) {
  const file = join(directory, 'until')
  const { base, visit } = await site('-maintenance-file', file)
  writeFileSync(file, new Date(Date.now() + 3600_000).toISOString() + '\n')
  await becomes(base, 503)
  const v = await visit({ clock: true })
  const after = Number((await v.goto('/')).headers()['retry-after'])
  assert.ok(after > 3500 && after <= 3600, `Retry-After: ${after}`)
  assert.match(await v.page.getByRole('main').innerText(), /Try again in (1 hour|60 minutes|59 minutes)/)
  await v.pass(after - 60, undefined, 60)
  await v.pass(59, undefined, 10)
  assert.equal(v.count('HEAD /'), 0)
  rmSync(file)
  await becomes(base, 200)
  await v.pass(400, () => v.count('GET /') === 2, 5)
  await v.page.getByRole('heading', { name: 'The site' }).waitFor()
}

// aVeryLongMaintenance is longer than a timer of a browser can be.
async function aVeryLongMaintenance ({ site }) {
  const file = join(directory, 'long')
  const { base, visit } = await site('-maintenance-file', file)
  writeFileSync(file, new Date(Date.now() + 60 * 24 * 3600_000).toISOString() + '\n')
  await becomes(base, 503)
  const v = await visit({ clock: true })
  await v.goto('/')
  await v.pass(12 * 3600, undefined, 1800)
  assert.deepEqual(v.requests, ['GET /'])
}

export default [aMaintenance, aMaintenanceWithAnEnd, aVeryLongMaintenance]
