// The client half of the suite: runs the tests whose ids are given against BASE and prints the results as JSON.
// A process of its own per run, since the suite keeps its results, and the dates it made, in its modules.
//
// usage: node client.mjs BASE ID...
//
// With DUMP in the environment both sides tell what they send: this one on standard error.

import fetch from 'node-fetch'
import { makeCacheTest, testResults } from 'http-cache-tests/client/test.mjs'
import * as config from 'http-cache-tests/client/config.mjs'
import suites from 'http-cache-tests/tests/index.mjs'

const atOnce = 100
const [base, ...ids] = process.argv.slice(2)
config.setFetch(fetch)
config.setBaseUrl(base)
const wanted = new Set(ids)
console.log = console.error
const tests = suites.flatMap(suite => suite.tests).filter(test => wanted.has(test.id))
if (process.env.DUMP) for (const test of tests) test.dump = true
for (let i = 0; i < tests.length; i += atOnce) {
  await Promise.all(tests.slice(i, i + atOnce).map(makeCacheTest))
}
process.stdout.write(JSON.stringify(testResults))
