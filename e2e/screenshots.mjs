// The pictures of the README.

import { mkdirSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const docs = fileURLToPath(new URL('../docs/', import.meta.url))

const pictures = {
  'page-light.png': { locale: 'en', colorScheme: 'light', viewport: { width: 960, height: 540 } },
  'page-dark-arabic.png': { locale: 'ar', colorScheme: 'dark', viewport: { width: 360, height: 640 } }
}

export async function screenshots ({ site }) {
  const { origin, base, visit } = await site('-brand', 'Harbour & Finch', '-brand-color', '#0f766e', '-breaker-min', '1', '-breaker-open', '30s')
  await origin.stop()
  await fetch(base) // which opens the breaker: the page knows for how long
  mkdirSync(docs, { recursive: true })
  for (const [name, options] of Object.entries(pictures)) {
    // The dot beside the note that the page tries again comes and goes.
    const v = await visit({ ...options, reducedMotion: 'reduce' })
    await v.goto('/')
    await v.page.getByRole('status').waitFor()
    await v.page.screenshot({ path: docs + name })
    const { size } = statSync(docs + name)
    if (size > 60_000) throw new Error(`${name} has ${size} bytes`)
    console.log(`      docs/${name}: ${size} bytes`)
  }
}
