// The site of a scene: an origin that can go away and come back, and the proxy in front of it.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const home = `<!doctype html><html lang="en"><title>The site</title><link rel="icon" href="data:,"><main><h1>The site</h1>
<form method="post" action="/order"><button>Order</button></form><iframe title="inner" src="/inner"></iframe></main>`
const plain = home.replace(/<iframe.*iframe>/, '')

export const directory = mkdtempSync(join(tmpdir(), 'holdfast-e2e-'))
const children = new Set()
let made = 0

// Origin listens on a socket of the file system, so that nobody takes its place while it is away.
export class Origin {
  path = join(directory, `${made++}.sock`)
  seen = [] // for instance "GET /"
  routes = {} // by "GET /" or "/": what answers instead

  start () {
    this.server = http.createServer((request, response) => {
      const { pathname } = new URL(request.url, 'http://origin')
      this.seen.push(`${request.method} ${pathname}`)
      request.resume()
      const route = this.routes[`${request.method} ${pathname}`] ?? this.routes[pathname]
      if (route) return route(request, response)
      response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' })
      response.end(pathname === '/framed' ? home : plain)
    })
    return new Promise((resolve, reject) => {
      this.server.on('error', reject)
      this.server.listen(this.path, resolve)
    })
  }

  stop () {
    const server = this.server
    if (!server) return
    this.server = undefined
    return new Promise(resolve => {
      server.close(resolve)
      server.closeAllConnections()
    })
  }

  count (what) { return this.seen.filter(s => s === what).length }
}

// broken ends a connection without an answer.
export const broken = request => request.socket.destroy()

// Proxy is the binary in front of an origin.
export class Proxy {
  said = ''

  constructor (binary, origin, flags) {
    const args = ['-listen', '127.0.0.1:0', '-admin', '127.0.0.1:0', '-backend', `unix://${origin.path}`, '-restart-wait', '0', '-retries', '0', ...flags]
    this.process = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    children.add(this.process)
    this.ended = new Promise(resolve => this.process.on('exit', code => {
      children.delete(this.process)
      resolve(code)
    }))
  }

  // ready resolves when it listens.
  ready () {
    return new Promise((resolve, reject) => {
      const hear = data => {
        this.said = (this.said + data).slice(-20_000)
        const found = /^holdfast: (http:\S+) stands in front/m.exec(this.said)
        if (found) {
          this.base = found[1].replace(/\/$/, '')
          resolve(this)
        }
      }
      this.process.stdout.on('data', hear)
      this.process.stderr.on('data', hear)
      this.process.on('error', reject)
      this.ended.then(code => reject(new Error(`the proxy ended with ${code}: ${this.said}`)))
    })
  }

  stop () {
    this.process.kill('SIGKILL')
    return this.ended
  }
}

// clean ends what is still there, whatever happened.
export function clean () {
  for (const p of children) p.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
}
