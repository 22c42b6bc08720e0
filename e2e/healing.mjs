// Scenes of pages that ask whether the site is well again.

import assert from 'node:assert/strict'

import { broken } from './site.mjs'

const well = v => v.page.getByRole('heading', { name: 'The site' })
const retrying = v => v.page.getByText('This page tries again by itself.')
const stopped = v => v.page.getByText('This page has stopped trying.')
const asked = v => v.count('HEAD /')
const unbroken = ['-dry-run', 'breaker'] // so that no Retry-After is known

// aRestartInRealTime: the page waits as long as Retry-After says, asks once and loads once.
async function aRestartInRealTime ({ site }) {
  const { origin, base, visit } = await site('-breaker-min', '1', '-breaker-open', '3s')
  await origin.stop()
  const v = await visit()
  await fetch(base) // which opens the breaker
  const response = await v.goto('/?a=1#there')
  assert.match(response.headers()['retry-after'], /^[1-4]$/) // 3 s, and up to a tenth that spreads trials
  await retrying(v).waitFor()
  await origin.start()
  const before = v.requests.length
  await well(v).waitFor()
  assert.deepEqual(v.requests.slice(before), ['HEAD /', 'GET /'])
  assert.deepEqual(origin.seen, ['HEAD /', 'GET /'])
  assert.equal(v.page.url(), `${v.base}/?a=1#there`)
}

// aRestartOfUnknownLength: without Retry-After it asks after 5 to 30 s, less and less often.
async function aRestartOfUnknownLength ({ site }) {
  const { origin, visit } = await site(...unbroken)
  await origin.stop()
  const v = await visit({ clock: true })
  const response = await v.goto('/')
  assert.equal(response.headers()['retry-after'], undefined)
  await retrying(v).waitFor()
  const pauses = []
  for (let i = 1; i <= 5; i++) pauses.push(await v.pass(60, () => asked(v) >= i))
  for (const p of pauses) assert.ok(p >= 5 && p <= 31, `pauses of ${pauses.join(', ')} s`)
  assert.ok(pauses[4] > pauses[0], `pauses of ${pauses.join(', ')} s`)
  assert.equal(v.count('GET /'), 1)
  await origin.start()
  await v.pass(60, () => v.count('GET /') === 2)
  await well(v).waitFor()
  assert.equal(asked(v), 6)
  const requests = v.requests.length
  await v.pass(3600, undefined, 120)
  assert.equal(v.requests.length, requests, 'a page that is well asks for nothing')
}

// aLongRetryAfter is waited for, and one that comes later counts, too.
async function aLongRetryAfter ({ site }) {
  const { origin, visit } = await site('-intercept-5xx')
  let after = '300'
  origin.routes['/'] = (request, response) => response.writeHead(503, { 'Retry-After': after }).end()
  const v = await visit({ clock: true })
  await v.goto('/')
  await v.pass(290, undefined, 10)
  await v.pass(9)
  assert.equal(asked(v), 0)
  after = '100'
  const first = 299 + await v.pass(40, () => asked(v) === 1)
  assert.ok(first <= 331, `asked after ${first} s`)
  delete origin.routes['/']
  const second = await v.pass(120, () => v.count('GET /') === 2)
  assert.ok(second >= 99 && second <= 111, `asked again after ${second} s`)
  await well(v).waitFor()
}

// aHiddenTab asks for nothing, and at once when somebody looks.
async function aHiddenTab ({ site }) {
  const { origin, visit } = await site(...unbroken)
  await origin.stop()
  const v = await visit({ clock: true })
  await v.goto('/')
  await v.see(false)
  await v.pass(3600, undefined, 120)
  assert.equal(asked(v), 0)
  await v.see(true)
  assert.equal(await v.pass(1, () => asked(v) === 1), 1, 'asks as soon as time passes')
  assert.ok(await retrying(v).isVisible(), 'an hour out of sight is not an hour of trying')
  await v.see(false)
  await origin.start()
  await v.pass(600, undefined, 60)
  assert.equal(asked(v), 1)
  await v.see(true)
  await v.pass(1, () => v.count('GET /') === 2)
  await well(v).waitFor()
}

// aLongOutage: the page gives up, says so without a jump, and leaves the site alone.
async function aLongOutage ({ site }) {
  const { origin, visit } = await site(...unbroken)
  await origin.stop()
  const v = await visit({ clock: true })
  await v.goto('/')
  const place = () => v.page.getByRole('heading', { level: 1 }).boundingBox()
  await retrying(v).waitFor()
  const before = await place()
  const seconds = await v.pass(3600, () => stopped(v).isVisible(), 10)
  assert.ok(seconds >= 60 && seconds <= 16 * 60, `gives up after ${seconds} s`)
  const asks = asked(v)
  assert.ok(asks >= 5 && asks <= 40, `${asks} asks in ${seconds} s`)
  assert.ok(!await retrying(v).isVisible())
  assert.equal(await v.page.getByRole('status').getAttribute('aria-live'), 'polite')
  assert.deepEqual(await place(), before)
  await v.pass(4 * 3600, undefined, 600)
  assert.equal(asked(v), asks)
  assert.equal(v.count('GET /'), 1)

  // Taken out of the back/forward cache by a browser that keeps error pages there, it begins anew.
  await v.page.evaluate(() => { dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })) })
  assert.ok(await retrying(v).isVisible())
  await v.pass(60, () => asked(v) > asks)
  assert.equal(asked(v), asks + 1)
  await origin.start()
  await v.pass(60, () => v.count('GET /') === 2)
  await well(v).waitFor()
}

// onlyHeadHeals: a page that is there for HEAD alone is not loaded over and over.
async function onlyHeadHeals ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['GET /'] = broken
  const v = await visit({ clock: true })
  await v.goto('/')
  const first = await v.pass(120, () => v.count('GET /') >= 6)
  assert.ok(first >= 30, `6 pages in ${first} s`)
  await v.pass(3600, () => stopped(v).isVisible(), 10)
  assert.ok(await stopped(v).isVisible())
  const loads = v.count('GET /')
  assert.ok(loads <= 30, `${loads} pages`)
  assert.equal(asked(v), loads - 1)
  await v.pass(3600, undefined, 120)
  assert.equal(v.count('GET /'), loads)

  // A visitor who reloads it has a page that tries.
  delete origin.routes['GET /']
  await v.page.reload()
  await well(v).waitFor()
}

// onlyHeadHealsWithoutStorage: nor where a browser keeps nothing.
async function onlyHeadHealsWithoutStorage ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['GET /'] = broken
  const v = await visit({ clock: true })
  await v.context.addInitScript(() => {
    Object.defineProperty(globalThis, 'sessionStorage', { get () { throw new DOMException('no', 'SecurityError') } })
  })
  await v.goto('/')
  await v.pass(300, undefined, 5)
  const loads = v.count('GET /')
  assert.ok(loads >= 5 && loads <= 17, `${loads} pages in five minutes`)
}

// aForm: what was sent is never sent again by the page.
async function aForm ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['POST /order'] = broken
  const v = await visit({ clock: true })
  await v.goto('/')
  const [response] = await Promise.all([v.page.waitForResponse(r => r.request().method() === 'POST'), v.page.getByRole('button').click()])
  assert.equal(response.status(), 502)
  assert.equal(response.headers()['content-security-policy'].includes('script-src'), false)
  await v.page.waitForLoadState()
  assert.equal(await v.page.locator('script').count(), 0)
  assert.equal(await v.page.getByRole('status').count(), 0)
  delete origin.routes['POST /order']
  await v.pass(3600, undefined, 120)
  assert.deepEqual(v.requests, ['GET /', 'POST /order'])
  assert.equal(origin.count('POST /order'), 1)
}

// elsewhere: a site that moved is alive, too. The browser goes where it is sent, the script doesn't.
async function elsewhere ({ site }) {
  const there = await site()
  const { origin, visit } = await site(...unbroken)
  origin.routes['/'] = (_, response) => response.writeHead(302, { Location: there.base + '/' }).end()
  await origin.stop()
  const v = await visit({ clock: true })
  v.welcome.add(there.base)
  await v.goto('/')
  await retrying(v).waitFor()
  await origin.start()
  await v.pass(30, () => there.origin.count('GET /') === 1)
  await well(v).waitFor()
  assert.equal(new URL(v.page.url()).origin, there.base)
  assert.deepEqual(origin.seen, ['HEAD /', 'GET /'])
  assert.deepEqual(there.origin.seen, ['GET /'])
}

// aliveOtherwise: a site that is alive is loaded, whatever it says.
async function aliveOtherwise ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['/to'] = (_, response) => response.writeHead(302, { Location: '/' }).end()
  origin.routes['/gone'] = (_, response) => response.writeHead(404, { 'Content-Type': 'text/html' }).end('<h1>Gone</h1>')
  origin.routes['HEAD /nohead'] = (_, response) => response.writeHead(405, { Allow: 'GET' }).end()
  for (const [path, heading] of [['/to', 'The site'], ['/gone', 'Gone'], ['/nohead', 'The site']]) {
    await origin.stop()
    const v = await visit({ clock: true })
    await v.goto(path)
    await retrying(v).waitFor()
    await origin.start()
    await v.pass(30, () => v.count(`GET ${path}`) === 2)
    await v.page.getByRole('heading', { name: heading }).waitFor()
    assert.equal(v.count(`HEAD ${path}`), 1)
    await v.close()
  }
}

// whatDoesNotHeal: a page that time alone does not mend has no script.
async function whatDoesNotHeal ({ site }) {
  const { origin, visit } = await site('-rate', '1/m', '-burst', '1', '-intercept-5xx')
  origin.routes['/'] = (_, response) => response.writeHead(500).end()
  const v = await visit({ clock: true })
  assert.equal((await v.goto('/')).status(), 500)
  assert.equal(await v.page.locator('script').count(), 0)

  // But who asked too often knows for how long.
  const limited = await v.goto('/')
  assert.equal(limited.status(), 429)
  const after = Number(limited.headers()['retry-after'])
  assert.ok(after > 30 && after <= 60, `Retry-After: ${after}`)
  await v.pass(after - 1)
  assert.equal(asked(v), 0)
  await v.pass(10, () => asked(v) === 1) // and up to a tenth later
  assert.equal(asked(v), 1)
}

// backAndForth: a page of the site comes out of the back/forward cache, an error page is asked for anew and goes on trying.
async function backAndForth ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['/'] = (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' })
    response.end('<!doctype html><title>.</title><h1>The site</h1><a href="/next">next</a><script>onpageshow=e=>{document.title=e.persisted?"kept":"new"}</script>')
  }
  origin.routes['/next'] = broken
  const v = await visit()
  await v.goto('/')
  await v.page.getByRole('link').click()
  await retrying(v).waitFor()
  await v.page.goBack({ waitUntil: 'commit' })
  await well(v).waitFor()
  assert.equal(await v.page.title(), 'kept')
  await v.page.goForward({ waitUntil: 'commit' })
  await retrying(v).waitFor()
  assert.equal(v.count('GET /next'), 2)
  delete origin.routes['/next']
  await well(v).waitFor()
  assert.equal(v.count('HEAD /next'), 1)
}

// inAFrame it heals, too, and leaves the page around it alone.
async function inAFrame ({ site }) {
  const { origin, visit } = await site(...unbroken)
  origin.routes['/inner'] = broken
  const v = await visit({ clock: true })
  await v.goto('/framed')
  const inner = v.page.frameLocator('iframe')
  await inner.getByText('This page tries again by itself.').waitFor()
  delete origin.routes['/inner']
  await v.pass(30, () => v.count('GET /inner') === 2)
  await inner.getByRole('heading', { name: 'The site' }).waitFor()
  assert.equal(v.count('GET /framed'), 1)
}

export default [
  aRestartInRealTime, aRestartOfUnknownLength, aLongRetryAfter, aHiddenTab, aLongOutage, onlyHeadHeals, onlyHeadHealsWithoutStorage,
  aForm, elsewhere, aliveOtherwise, whatDoesNotHeal, backAndForth, inAFrame
]
