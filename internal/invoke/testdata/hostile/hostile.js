// As hostile.py.
const fs = require('fs'), http = require('http'), https = require('https'), net = require('net'), os = require('os'), dgram = require('dgram'), events = require('events')
const Module = require('module'), crypto = require('crypto'), util = require('util'), cp = require('child_process'), dns = require('dns')
const { Worker, setEnvironmentData, getEnvironmentData } = require('worker_threads')
const { AsyncLocalStorage, createHook } = require('async_hooks')
const channels = require('diagnostics_channel')

const kept = {}
const storage = new AsyncLocalStorage()
const dep = require('./dep.js')

const attribute = (of) => [(m) => { of.sheMark = m }, () => of.sheMark]
const replaced = (of, name) => [(m) => {
  const old = of[name]
  of[name] = Object.assign(function (...args) { return old.apply(this, args) }, { mark: m })
}, () => of[name]?.mark]
const replacedMaker = (of, name) => [(m) => { of[name] = Object.assign(class extends of[name] {}, { mark: m }) }, () => of[name].mark]
const listener = (of, name) => [(m) => { of.on(name, Object.assign(() => {}, { mark: m })) }, () => of.listeners(name).map((l) => l.mark).filter(Boolean).pop()]
const file = (path) => [(m) => fs.writeFileSync(path, m), () => fs.existsSync(path) && fs.readFileSync(path, 'utf8')]

function serve(mark) {
  kept.server?.close()
  return new Promise((resolve, reject) => {
    kept.server = net.createServer((c) => c.end(mark)).on('error', reject).listen(Number(process.env.PORT), '127.0.0.1', resolve)
    kept.server.unref()
  })
}
function connect() {
  return new Promise((resolve) => {
    let text = ''
    net.connect(Number(process.env.PORT), '127.0.0.1').on('data', (d) => { text += d }).on('close', () => resolve(text)).on('error', () => resolve(''))
  })
}
function work(mark) {
  return new Promise((resolve) => {
    kept.worker = new Worker(`const { parentPort } = require('worker_threads'); parentPort.on('message', () => parentPort.postMessage(${JSON.stringify(mark)})); parentPort.postMessage('up')`, { eval: true })
    kept.worker.once('message', () => { kept.worker.unref(); resolve() })
  })
}
function askWorker() {
  if (!kept.worker) return null
  return new Promise((resolve) => { kept.worker.once('message', resolve); kept.worker.postMessage('') })
}
function child(mark) { cp.spawn('/bin/sh', ['-c', 'sleep 30; : ' + mark], { detached: true, stdio: 'ignore' }).unref() }
function children() {
  let found
  for (const pid of fs.readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
    try {
      const line = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      if (line.includes('sleep 30; : ')) found = line.split('sleep 30; : ')[1]
    } catch {}
  }
  return found
}
function pool(mark) { for (let i = 0; i < 2000; i++) Buffer.from(mark.padEnd(40, '.')) }
// All that is left there, also what has lost its beginning or its end, if it is long enough to tell whose it was.
function pooled() {
  const memory = Array.from({ length: 400 }, () => Buffer.allocUnsafe(4000).toString('latin1')).join('\n')
  const left = new Set(memory.match(/shemark[0-9a-f]{8,}|[0-9a-f]{8,}(?=\.{8})/g))
  return left.size ? 'shemark: ' + [...left].join(' ') : null
}
function openFile(mark) {
  kept.fd = fs.openSync('/tmp/she-deleted', 'w+')
  fs.writeSync(kept.fd, mark)
  fs.unlinkSync('/tmp/she-deleted')
}
function descriptors() {
  let found
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    try {
      if (!fs.readlinkSync('/proc/self/fd/' + fd).includes('(deleted)')) continue
      const b = Buffer.alloc(100)
      found = b.toString('utf8', 0, fs.readSync(Number(fd), b, 0, 100, 0)) || found
    } catch {}
  }
  return found
}

const places = {
  'module-variable': [(m) => { kept.mark = m }, () => kept.mark],
  'module-of-package': attribute(dep),
  'global': attribute(globalThis),
  'object-prototype': [(m) => Object.defineProperty(Object.prototype, 'sheMark', { value: m, configurable: true, writable: true, enumerable: false }), () => ({}).sheMark],
  'array-method': replaced(Array.prototype, 'map'),
  'promise-method': replaced(Promise.prototype, 'then'),
  'json-reader': replaced(JSON, 'parse'),
  'json-writer': replaced(JSON, 'stringify'),
  'http-request': replaced(http, 'request'),
  'https-request': replaced(https, 'request'),
  'http-message': replaced(http.IncomingMessage.prototype, 'on'),
  'file-write': replaced(fs, 'writeSync'),
  'emitter': replaced(events.prototype, 'emit'),
  'socket-write': replaced(net.Socket.prototype, 'write'),
  'buffer-maker': replaced(Buffer, 'concat'),
  'random': replaced(Math, 'random'),
  'uuid': replaced(crypto, 'randomUUID'),
  'clock': replaced(Date, 'now'),
  'timer-maker': replaced(globalThis, 'setTimeout'),
  'error-trace': [(m) => { Error.prepareStackTrace = Object.assign((e) => String(e), { mark: m }) }, () => Error.prepareStackTrace?.mark],
  'console': replaced(console, 'log'),
  'stdout': replaced(process.stdout, 'write'),
  'stderr': replaced(process.stderr, 'write'),
  'module-cache': [(m) => { require.cache['/she'] = { mark: m } }, () => require.cache['/she']?.mark],
  'module-loader': replaced(Module, '_load'),
  'module-kind': [(m) => { Module._extensions['.she'] = Object.assign(() => {}, { mark: m }) }, () => Module._extensions['.she']?.mark],
  'module-paths': [(m) => Module.globalPaths.push('/' + m), () => Module.globalPaths.findLast?.((p) => p.includes('shemark'))],
  'exports': attribute(module.exports),
  'symbol-registry': [(m) => { globalThis[Symbol.for('she')] = m }, () => globalThis[Symbol.for('she')]],
  'async-storage': [(m) => storage.enterWith(m), () => storage.getStore()],
  'async-hook': [(m) => { kept.hook = Object.assign(createHook({ init() { kept.hooked = m } }), {}); kept.hook.enable() }, () => { setImmediate(() => {}); return kept.hooked }],
  'diagnostics': [(m) => channels.subscribe('she', kept.subscriber = (message) => { message.mark = m }), () => { const message = {}; channels.channel('she').publish(message); return message.mark }],
  'inspect': [(m) => { util.inspect.defaultOptions.breakLength = 80; util.inspect.sheMark = m }, () => util.inspect.sheMark],
  'name-servers': replaced(dns, 'lookup'),
  'http-agent': [(m) => { http.globalAgent = Object.assign(new http.Agent(), { mark: m }) }, () => http.globalAgent.mark],
  'uncaught': listener(process, 'uncaughtException'),
  'rejection': listener(process, 'unhandledRejection'),
  'warning': listener(process, 'warning'),
  'exit': listener(process, 'exit'),
  'idle': listener(process, 'beforeExit'),
  'signal': listener(process, 'SIGUSR2'),
  'title': [(m) => { process.title = m }, () => process.title],
  'arguments': [(m) => process.execArgv.push(m), () => process.execArgv.findLast?.((a) => a.includes('shemark'))],
  'environment': [(m) => { process.env.SHE_MARK = m }, () => process.env.SHE_MARK],
  'environment-of-workers': [(m) => setEnvironmentData('she', m), () => getEnvironmentData('she')],
  'directory': [(m) => { fs.mkdirSync('/tmp/' + m, { recursive: true }); process.chdir('/tmp/' + m) }, () => process.cwd()],
  'interval': [(m) => setInterval(() => { kept.ticked = m }, 5).unref(), () => kept.ticked],
  'immediate': [(m) => { const again = () => { kept.turned = m; setTimeout(again, 5).unref() }; again() }, () => kept.turned],
  'worker': [work, askWorker],
  'buffer-pool': [pool, pooled],
  'child': [child, children],
  'listener': [serve, connect],
  'open-file': [openFile, descriptors],
  'tmp': file('/tmp/she-left'),
  'shm': file('/dev/shm/she-left'),
}

const sleep = (ms) => new Promise((resolve) => { const i = setInterval(() => { clearInterval(i); resolve() }, ms) })

async function leave(e) {
  const left = []
  for (const [name, [put]] of Object.entries(places)) {
    try {
      await put(e.mark)
      left.push(name)
    } catch (failure) { fs.writeSync(2, `${name}: ${failure}\n`) }
  }
  return left
}

async function find(e) {
  const found = {}
  const until = performance.now() + (e.millis ?? 0)
  for (;;) {
    for (const [name, [, get]] of Object.entries(places)) {
      try {
        const mark = await get()
        if (String(mark).includes('shemark')) found[name] ??= String(mark)
      } catch (failure) { fs.writeSync(2, `${name}: ${failure}\n`) }
    }
    if (performance.now() >= until) return found
    await sleep(20)
  }
}

async function hold(e) {
  const now = () => performance.timeOrigin / 1000 + performance.now() / 1000
  const began = now()
  await leave(e)
  const left = now()
  await sleep(e.millis)
  return { began, left, ended: now() }
}

function exit(e) {
  process.on('exit', () => fs.writeSync(1, e.mark))
  if (e.exit) process.exit(0)
  return null
}

function raw(request, context) {
  const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':')
  return new Promise((resolve) => {
    let text = ''
    const s = net.connect(Number(port), host, () => s.write(request.replace('{id}', context.awsRequestId)))
    s.setTimeout(20000, () => s.destroy())
    s.on('data', (d) => { text += d; if (text.includes('\n')) s.destroy() })
    s.on('error', (failure) => { text ||= String(failure) })
    s.on('close', () => resolve(text.split('\r')[0]))
  })
}

async function speak(e, context) {
  const replies = []
  for (const request of e.now ?? []) replies.push(await raw(request.replace('{large}', 'h'.repeat(e.large ?? 0)), context))
  const later = async () => {
    await sleep(50)
    for (const request of e.later ?? []) request.startsWith('print ') ? fs.writeSync(1, request.slice(6)) : await raw(request, context)
  }
  later()
  await sleep(e.millis ?? 0)
  return { replies, mark: e.mark }
}

function frames(e) {
  fs.writeSync(1, Buffer.from(e.frame, 'hex'))
  for (const folder of e.paths) {
    try {
      for (const name of fs.readdirSync(folder).sort((a, b) => a - b)) { // some are its own, and it dies of them
        try {
          if (!fs.readlinkSync(`${folder}/${name}`).startsWith('pipe:')) continue
          const fd = fs.openSync(`${folder}/${name}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK)
          fs.writeSync(fd, Buffer.from(e.frame, 'hex'))
          fs.closeSync(fd)
        } catch {}
      }
    } catch {}
  }
  return { mark: e.mark }
}

async function send(e) {
  const [host, port] = e.target.split(':')
  await new Promise((done) => http.get(`http://${e.target}/${e.mark}-client`, { agent: false }, (r) => r.resume().on('close', done)).on('error', done).setTimeout(2000, done))
  await new Promise((done) => { const s = net.connect(Number(port), host, () => s.end(`GET /${e.mark}-stream HTTP/1.0\r\n\r\n`)).resume().on('close', done).on('error', done); s.setTimeout(2000, () => s.destroy()) })
  await new Promise((done) => { const s = dgram.createSocket('udp4').on('error', done); s.send(`${e.mark}-packet`, Number(port), host, () => { s.close(); done() }) })
  return null
}

function fail(e) { throw Object.assign(new Error(e.mark), { name: e.mark }) }

exports.handler = (e, context) => ({ leave, find, hold, exit, speak, frames, send, fail })[e.do](e, context)
