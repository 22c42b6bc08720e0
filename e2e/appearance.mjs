// Scenes of how the page looks and what it is made of.

import assert from 'node:assert/strict'

import { broken } from './site.mjs'

const languages = { en: 'en', de: 'de', fr: 'fr', es: 'es', 'pt-BR': 'pt', ar: 'ar', ja: 'ja', 'zh-CN': 'zh-Hans' }

// everyLanguage looks at the page in each language, light and dark, on a desk and on a small phone.
async function everyLanguage ({ site }) {
  const { origin, visit } = await site('-dry-run', 'breaker') // which would make a 503 of it after some
  await origin.stop()
  const headings = new Set()
  for (const [locale, lang] of Object.entries(languages)) {
    const v = await visit({ locale })
    const response = await v.goto('/')
    assert.equal(response.status(), 502, locale)
    assert.equal(response.headers()['content-language'], lang)
    const html = v.page.locator('html')
    assert.equal(await html.getAttribute('lang'), lang)
    assert.equal(await html.getAttribute('dir'), lang === 'ar' ? 'rtl' : 'ltr')
    headings.add(await v.page.getByRole('heading', { level: 1 }).innerText())
    await looksRight(v, locale)
    await v.close()
  }
  assert.equal(headings.size, Object.keys(languages).length, `headings: ${[...headings].join(', ')}`)
}

// everyKind looks at pages of other kinds of failure.
async function everyKind ({ site }) {
  const { origin, visit } = await site('-first-byte', '2s', '-rate', '1/m', '-burst', '4')
  origin.routes['/broken'] = broken
  origin.routes['/late'] = () => {}
  const v = await visit()
  const headings = new Set()
  for (const [path, status] of [['/broken', 502], ['/late', 504], ['/', 200], ['/none', 200], ['/', 429]]) {
    const response = await v.goto(path)
    assert.equal(response.status(), status, path)
    if (status === 200) continue
    const text = await v.page.locator('body').innerText()
    assert.match(text, new RegExp(`\\b${status}\\b`))
    assert.ok(text.includes(response.headers()['x-request-id']), text)
    headings.add(await v.page.getByRole('heading', { level: 1 }).innerText())
    await looksRight(v, path)
  }
  assert.equal(headings.size, 3)
}

// looksRight: fit to read, for everybody, light and dark, on a desk and on a small phone.
export async function looksRight (v, what) {
  for (const colorScheme of ['light', 'dark']) {
    await v.page.emulateMedia({ colorScheme })
    const ground = await v.page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    const bright = ground.match(/\d+/g).slice(0, 3).reduce((sum, n) => sum + Number(n), 0) > 3 * 128
    assert.equal(bright, colorScheme === 'light', `${what} ${colorScheme}: the ground is ${ground}`)
    for (const width of [1280, 320]) {
      await v.page.setViewportSize({ width, height: 700 })
      const wide = await v.page.evaluate(() => document.documentElement.scrollWidth)
      assert.ok(wide <= width, `${what}: ${wide} px wide on ${width}`)
    }
    if (colorScheme === 'light') await v.page.setViewportSize({ width: 1280, height: 700 })
    assert.deepEqual(await v.barriers(), [], `${what} ${colorScheme}`)
  }
}

// scriptsOff: the page says what there is to say, and does nothing.
async function scriptsOff ({ site }) {
  const { origin, visit } = await site()
  await origin.stop()
  const v = await visit({ javaScriptEnabled: false })
  await v.goto('/')
  assert.ok(await v.page.getByRole('heading', { level: 1 }).isVisible())
  assert.ok(!/again by itself|stopped trying/.test(await v.page.locator('body').innerText()))
  assert.deepEqual(v.requests, ['GET /'])
}

// calm: nothing moves for those who want that, and nothing else is loaded.
async function calm ({ site }) {
  const { origin, visit } = await site()
  await origin.stop()
  const v = await visit({ reducedMotion: 'reduce' })
  await v.goto('/some/where?a=1')
  assert.deepEqual(await v.page.evaluate(() => document.getAnimations().map(a => a.animationName)), [])
  assert.deepEqual(v.requests, ['GET /some/where'])
  await v.page.emulateMedia({ media: 'print' })
  assert.ok(await v.page.getByRole('heading', { level: 1 }).isVisible())
}

export default [everyLanguage, everyKind, scriptsOff, calm]
