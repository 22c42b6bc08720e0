// Runs the public suite for HTTP caches against a proxy, and compares what comes out with results.json.
//
// usage: node run.mjs BINARY [ID]
//
// BINARY is examples/standalone, built. With ID that test alone is run, with what both sides sent.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import { fileURLToPath } from 'node:url'

import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import suites from 'http-cache-tests/tests/index.mjs'

const here = name => fileURLToPath(new URL(name, import.meta.url))
const bound = 300_000 // ms for everything
const reruns = 2 // of what fails unexpectedly, by itself: a machine under load is late for a pause of the suite
const children = new Set()
const origin = http.createServer(answer)

const [binary, only] = process.argv.slice(2)
const say = console.log
if (!only) console.log = () => {} // the suite's server is chatty
const timer = setTimeout(() => end(1, `it took more than ${bound / 1000} s`), bound)
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => end(1, signal))
main().then(problems => end(problems.length > 0 ? 1 : 0, ...problems), err => end(1, err.stack))

async function main () {
  if (!binary) throw new Error('usage: node run.mjs BINARY [ID]')
  const backend = await new Promise((resolve, reject) => {
    origin.on('error', reject)
    origin.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${origin.address().port}`))
  })
  const tests = new Map()
  for (const suite of suites) {
    for (const test of suite.tests) {
      if (test.browser_only || /^surrogate-/.test(suite.id) || /^surrogate-/.test(test.id)) continue
      tests.set(test.id, test.kind || 'required')
    }
  }
  if (only) return one(backend, tests)

  const list = JSON.parse(readFileSync(here('results.json')))
  const base = await proxy(backend)
  const results = await run(base, [...tests.keys()])
  const listed = new Set(list.failing.map(f => f.id))
  const unexpected = () => [...tests].filter(([id, kind]) => kind !== 'check' && !listed.has(id) && results[id] !== true).map(([id]) => id)
  for (let i = 0; i < reruns && unexpected().length > 0; i++) {
    say(`once more, by themselves: ${unexpected().join(' ')}`)
    Object.assign(results, await run(base, unexpected()))
  }
  const problems = compare(tests, results, list)
  const chosen = await run(await proxy(backend, '-store-set-cookie'), list.withStoreSetCookie)
  for (const id of list.withStoreSetCookie) {
    if (chosen[id] !== true) problems.push(`${id} fails with -store-set-cookie, too: ${why(chosen[id])}`)
  }
  return problems
}

// compare prints the counts and returns what is wrong with the results.
function compare (tests, results, list) {
  const problems = []
  const listed = new Map(list.failing.map(f => [f.id, f]))
  const counts = {}
  for (const [id, kind] of tests) {
    const passed = results[id] === true
    counts[kind] ??= { pass: 0, of: 0 }
    counts[kind].of++
    if (passed) counts[kind].pass++
    if (kind === 'check') continue
    const entry = listed.get(id)
    if (results[id] === undefined) problems.push(`${id} (${kind}) has no result`)
    else if (!passed && !entry) problems.push(`${id} (${kind}) fails and is not in results.json: ${why(results[id])}`)
    else if (passed && entry) problems.push(`${id} (${kind}) passes now: take it out of results.json`)
  }
  for (const f of list.failing) {
    if (tests.get(f.id) !== f.kind) problems.push(`results.json has ${f.id} as ${f.kind}; the suite says ${tests.get(f.id)}`)
    if (!f.reason) problems.push(`results.json has no reason for ${f.id}`)
  }
  for (const kind of ['required', 'optimal']) {
    const { pass, of } = counts[kind]
    say(`${kind}: ${pass} of ${of} pass (${(100 * pass / of).toFixed(1)} %)`)
    if (list.counts[kind]?.pass !== pass || list.counts[kind]?.of !== of) {
      problems.push(`results.json says ${JSON.stringify(list.counts[kind])} of ${kind}, counted ${JSON.stringify(counts[kind])}`)
    }
  }
  const { pass, of } = counts.optimal
  if (pass < list.optimalAtLeast * of) problems.push(`${pass} of ${of} optimal ones pass, less than ${100 * list.optimalAtLeast} %`)
  say(`check: ${counts.check.pass} of ${counts.check.of} answered with yes, which is neither right nor wrong`)
  return problems
}

async function one (backend, tests) {
  if (!tests.has(only)) throw new Error(`the suite has no test ${only}`)
  process.env.DUMP = '1'
  const result = (await run(await proxy(backend), [only]))[only]
  return result === true ? [] : [`${only} fails: ${why(result)}`]
}

function why (result) {
  return Array.isArray(result) ? result.join(': ') : String(result)
}

// answer is the suite's origin, on the loopback address only.
function answer (request, response) {
  const [, dispatch, ...rest] = new URL(request.url, 'http://origin').pathname.split('/')
  const handlers = { config: handleConfig, state: handleState, test: handleTest }
  if (handlers[dispatch]) return handlers[dispatch](rest, request, response)
  response.writeHead(404).end()
}

// proxy starts BINARY in front of the origin and returns its URL.
function proxy (backend, ...flags) {
  return new Promise((resolve, reject) => {
    const p = start(binary, ['-listen', '127.0.0.1:0', '-admin', '127.0.0.1:0', '-backend', backend, ...flags])
    let said = ''
    p.stdout.on('data', data => {
      said += data
      const found = /^holdfast: (http:\S+) stands in front/m.exec(said)
      if (found) resolve(found[1].replace(/\/$/, ''))
    })
    p.stderr.resume()
    p.on('error', reject)
    p.on('exit', code => reject(new Error(`${binary} ended with ${code}: ${said}`)))
  })
}

// run has the suite's client run tests, and returns its results by id.
function run (base, ids) {
  return new Promise((resolve, reject) => {
    const p = start(process.execPath, ['--no-warnings', here('client.mjs'), base, ...ids])
    let said = ''
    p.stdout.on('data', data => { said += data })
    p.stderr.pipe(process.stderr)
    p.on('error', reject)
    p.on('close', code => {
      if (code !== 0) return reject(new Error(`client.mjs ended with ${code}`))
      resolve(JSON.parse(said))
    })
  })
}

function start (command, args) {
  const p = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  children.add(p)
  p.on('exit', () => children.delete(p))
  return p
}

// end stops what was started, and the process.
function end (code, ...problems) {
  clearTimeout(timer)
  for (const p of children) p.kill('SIGKILL')
  origin.close()
  origin.closeAllConnections()
  for (const text of problems) console.error(text)
  process.exitCode = code
  if (code !== 0) process.exit()
}
