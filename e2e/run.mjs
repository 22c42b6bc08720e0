// Drives Chromium through the standalone proxy while its origin fails, and heals.
//
// usage: node run.mjs BINARY [SCENE ...]
//
// BINARY is examples/standalone, built. With the beginnings of names, only these scenes are run. With SCREENSHOTS=1 in the
// environment the pictures of the README are taken as well.

import { chromium } from 'playwright-core'

import appearance from './appearance.mjs'
import healing from './healing.mjs'
import maintenance from './maintenance.mjs'
import { screenshots } from './screenshots.mjs'
import { clean, Origin, Proxy } from './site.mjs'
import { Visitor } from './visitor.mjs'

const bound = 180_000 // ms for everything, which takes 40 s on two cores
const sceneBound = 40_000 // ms for one scene
const atOnce = 2

const [binary, ...only] = process.argv.slice(2)
let browser
const timer = setTimeout(() => {
  console.error(`all of it took more than ${bound / 1000} s`)
  process.exit(1)
}, bound)
// Playwright ends the browser when the process exits.
process.on('exit', clean)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1))

main().then(failed => { process.exitCode = failed ? 1 : 0 }, err => {
  console.error(err.stack)
  process.exitCode = 1
}).finally(async () => {
  await browser?.close()
  clearTimeout(timer)
})

async function main () {
  if (!binary) throw new Error('usage: node run.mjs BINARY [SCENE ...]')
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // What Playwright turns off is part of what is looked at.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // Whatever it wants, it stays here.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'
    ]
  })
  let scenes = [...appearance, ...healing, ...maintenance].map(f => [f.name.replace(/[A-Z]/g, c => ' ' + c.toLowerCase()), f])
  if (only.length > 0) scenes = scenes.filter(([name]) => only.some(o => name.startsWith(o)))
  if (scenes.length === 0) throw new Error(`no scene begins with ${only.join(', ')}`)
  let failed = 0
  const queue = [...scenes]
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (let next; (next = queue.shift());) if (!await play(...next)) failed++
  }))
  console.log(`${scenes.length - failed} of ${scenes.length} scenes in ${(performance.now() / 1000).toFixed(1)} s`)
  if (failed === 0 && process.env.SCREENSHOTS && !await play('screenshots', screenshots)) failed++
  return failed
}

// play gives a scene a stage: site makes origin and proxy, visit a visitor.
async function play (name, scene) {
  const begun = performance.now()
  const cleanups = []
  const proxies = []
  const visitors = []
  const stage = {
    async site (...flags) {
      const origin = new Origin()
      cleanups.push(() => origin.stop())
      await origin.start()
      const proxy = new Proxy(binary, origin, flags)
      proxies.push(proxy)
      cleanups.push(() => proxy.stop())
      await proxy.ready()
      return { origin, proxy, base: proxy.base, visit: options => stage.visit(proxy.base, options) }
    },
    async visit (base, options) {
      const visitor = await Visitor.open(browser, base, options)
      visitors.push(visitor)
      cleanups.push(() => visitor.close())
      return visitor
    }
  }
  let problem, late
  try {
    await Promise.race([scene(stage), new Promise((resolve, reject) => {
      late = setTimeout(() => reject(new Error(`it took more than ${sceneBound / 1000} s`)), sceneBound)
    })])
    const minded = visitors.flatMap(v => v.problems)
    if (minded.length > 0) throw new Error(minded.join('\n'))
  } catch (err) {
    problem = err
  }
  clearTimeout(late)
  for (const f of cleanups.reverse()) await f()
  const took = `${((performance.now() - begun) / 1000).toFixed(1)} s`
  if (!problem) {
    console.log(`ok    ${name} (${took})`)
    return true
  }
  console.error(`FAIL  ${name} (${took})\n${problem.stack}`)
  for (const v of visitors) console.error(`requests: ${v.requests.join(', ')}\nminded: ${v.problems.join('\n')}`)
  for (const p of proxies) console.error(p.said.slice(-3000))
  return false
}
