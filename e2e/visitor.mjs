// A visitor of a site, in a browser context of its own, who minds everything that a page must not do.

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
// Where the clock of a visitor stands who has one that only goes when told to.
const beginning = new Date('2026-03-01T12:00:00Z')

export class Visitor {
  problems = []
  requests = [] // for instance "HEAD /"
  underway = new Set()
  welcome = new Set() // origins that may be asked
  #listeners = new Set()

  // open makes the context. options are those of Playwright, and clock: the pages' time stands still but for pass.
  static async open (browser, base, { clock = false, ...options } = {}) {
    const v = new Visitor()
    v.base = base
    v.welcome.add(base)
    v.context = await browser.newContext(options)
    if (clock) {
      await v.context.addInitScript(() => { globalThis.howItCame = performance.getEntriesByType('navigation')[0].type })
      await v.context.clock.install({ time: beginning })
      await v.context.clock.pauseAt(beginning)
      // The clock's performance knows nothing of navigations.
      await v.context.addInitScript(() => {
        performance.getEntriesByType = type => type === 'navigation' ? [{ type: globalThis.howItCame }] : []
      })
    }
    await v.context.addInitScript(() => {
      addEventListener('securitypolicyviolation', e => console.error(`violates ${e.effectiveDirective}: ${e.blockedURI} ${e.sample}`))
    })
    v.context.on('request', r => {
      v.underway.add(r)
      const url = new URL(r.url())
      if (!v.welcome.has(url.origin)) v.problems.push(`asks for ${r.url()}`)
      v.requests.push(`${r.method()} ${url.pathname}`)
      v.#told()
    })
    for (const end of ['requestfinished', 'requestfailed']) {
      v.context.on(end, r => {
        v.underway.delete(r)
        v.#told()
      })
    }
    v.context.on('weberror', e => v.problems.push(`throws ${e.error().stack}`))
    v.context.on('console', m => {
      // The browser itself notes answers of 400 and more.
      if (/^Failed to load resource: the server responded with a status of \d+/.test(m.text())) return
      if (m.type() === 'error' || m.type() === 'warning') v.problems.push(`console: ${m.text()}`)
    })
    v.page = await v.context.newPage()
    v.page.setDefaultTimeout(20_000)
    return v
  }

  #told () { for (const f of [...this.#listeners]) f() }

  // until resolves when the requests fulfil a condition.
  until (what, condition, ms = 15_000) {
    return new Promise((resolve, reject) => {
      const done = err => {
        clearTimeout(timer)
        this.#listeners.delete(look)
        err ? reject(err) : resolve()
      }
      const look = () => { if (condition()) done() }
      const timer = setTimeout(() => done(new Error(`${what}: not within ${ms / 1000} s; requests: ${this.requests.join(', ')}`)), ms)
      this.#listeners.add(look)
      look()
    })
  }

  goto (path) { return this.page.goto(this.base + path, { waitUntil: 'load' }) }

  count (what) { return this.requests.filter(s => s === what).length }

  // pass lets seconds of the clock pass in steps, or fewer if a condition is fulfilled before that. Time stands still
  // while something is under way. It returns how many passed.
  async pass (seconds, condition = () => false, step = 1) {
    for (let passed = 0; ;) {
      await this.settle()
      if (await condition() || passed >= seconds) return passed
      const next = Math.min(step, seconds - passed)
      await this.context.clock.fastForward(next * 1000)
      passed += next
    }
  }

  // settle waits until nothing is under way, and what waits for it in the page has run.
  async settle () {
    for (let calm = 0, gone = 0; calm < 2; calm++) {
      await this.until('requests end', () => this.underway.size === 0)
      try {
        await this.page.evaluate(() => new Promise(resolve => {
          const c = new MessageChannel()
          c.port1.onmessage = resolve
          c.port2.postMessage(0)
        }))
      } catch (err) {
        // A page on its way out takes the question with it.
        if (this.page.isClosed() || ++gone > 10) throw err
        calm = -1
      }
    }
  }

  // see changes whether somebody looks. A browser without a screen shows all its pages.
  async see (visible) {
    await this.page.evaluate(visible => {
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => visible ? 'visible' : 'hidden' })
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => !visible })
      document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))
    }, visible)
  }

  // barriers is what axe-core finds, which needs a clock that goes.
  async barriers () {
    await this.page.evaluate(axe)
    const { violations, passes } = await this.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }))
    if (passes.length < 10) throw new Error(`axe-core looked at ${passes.length} things only`)
    return violations.map(v => `${v.impact} ${v.id}: ${v.nodes.map(n => `${n.html} ${n.failureSummary}`).join('; ')}`)
  }

  close () { return this.context.close() }
}
