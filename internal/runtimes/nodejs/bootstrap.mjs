// Runs an AWS Lambda handler written for Node.js: asks the Runtime API for the event, calls the handler, reports.
// Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
//
// It lives in the function's process, whose code may replace or set anything there: globals, prototypes, methods of
// built-in modules, listeners, the working directory. So all that is used after the function's code is loaded was taken
// before, and methods of prototypes are called through references of its own.
import crypto from 'node:crypto'
import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import path from 'node:path'
import { Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const { Buffer, Error, JSON, Math, Number, Object, Promise, String, SyntaxError, TypeError } = globalThis
const { parse, stringify } = JSON
const { concat, from: bytesOf } = Buffer
const { max } = Math
const { now } = Date
const { writeSync } = fs
const { randomFillSync } = crypto

// method(f) is f as a function whose first argument is the object.
const { bind, call: callOf } = Function.prototype
const method = bind.bind(callOf)
const then = method(Promise.prototype.then)
const has = method(Object.prototype.hasOwnProperty)
const textOf = method(Buffer.prototype.toString)
const find = method(Buffer.prototype.indexOf)
const tail = method(Buffer.prototype.subarray)
const split = method(String.prototype.split)
const cut = method(String.prototype.slice)
const lower = method(String.prototype.toLowerCase)
const trim = method(String.prototype.trim)
const position = method(String.prototype.indexOf)
const replace = method(String.prototype.replace)

const listen = method(process.on)
const listenOnce = method(process.once)
const unlisten = method(process.removeListener)
const exit = method(process.exit)
const reallyExit = method(process.reallyExit)
const { connect: dial } = net
const Sink = Writable

// A socket's methods look each other up, along prototypes that all streams and events of this process share. Ours gets
// the ones of now for its own.
const socketMethods = []
for (let at = net.Socket.prototype; at !== Object.prototype; at = Object.getPrototypeOf(at)) {
  for (const key of Reflect.ownKeys(at)) {
    const { value } = Object.getOwnPropertyDescriptor(at, key)
    if (typeof value === 'function' && key !== 'constructor' && !socketMethods.some((m) => m[0] === key)) {
      socketMethods.push([key, { value, writable: true, configurable: true }])
    }
  }
}
const { defineProperty, getPrototypeOf: prototypeOf } = Object
const promises = Promise.prototype

const env = { ...process.env }
const { AWS_LAMBDA_RUNTIME_API: api, LAMBDA_TASK_ROOT: task, _HANDLER: handlerName } = env
const [host, port] = api.split(':')
// Two handlers, with what is set while one of them has an event: the own one, and one that may have an event before it.
const entryOf = (handler, name) => ({
  handler, name, group: '/aws/lambda/' + name, call: null,
  env: [['_HANDLER', handler], ['AWS_LAMBDA_FUNCTION_NAME', name], ['AWS_LAMBDA_LOG_GROUP_NAME', '/aws/lambda/' + name]],
})
const ownEntry = entryOf(handlerName, env.AWS_LAMBDA_FUNCTION_NAME)
const firstEntry = env.SHE_FIRST_HANDLER === undefined ? null : entryOf(env.SHE_FIRST_HANDLER, env.SHE_FIRST_NAME)
delete process.env.SHE_FIRST_HANDLER
delete process.env.SHE_FIRST_NAME

function enter(entry) {
  try {
    for (let i = 0; i < entry.env.length; i++) process.env[entry.env[i][0]] = entry.env[i][1]
  } catch {
    // the function put something else there
  }
}

let open = null // the id of the event that has no answer yet

// This process may be a copy of one that waited for its event, and no two copies may draw the same random numbers.
// OpenSSL draws from the CPU (openssl.cnf beside this file); what Node.js and V8 keep in stock is not used.
const { BigUint64Array: Words, Float64Array: Fractions } = globalThis
let drawn = { at: 0, from: new Fractions(0) }
function independentRandomness() {
  const uuid = crypto.randomUUID
  crypto.randomUUID = (options) => uuid({ ...options, disableEntropyCache: true })
  Object.getPrototypeOf(crypto.webcrypto).randomUUID = () => crypto.randomUUID()
  Math.random = () => {
    if (drawn.at === drawn.from.length) {
      const bits = randomFillSync(new Words(32))
      const from = new Fractions(bits.length)
      for (let i = 0; i < bits.length; i++) from[i] = Number(bits[i] >> 11n) / 2 ** 53
      drawn = { at: 0, from }
    }
    return drawn.from[drawn.at++]
  }
  syncBuiltinESMExports()
}

// Asks and gives {status, headers, body}. A body that the other side refuses while it is sent is no error: the answer
// says why. The connection is kept for the next question; the event loop does not wait for one that is idle.
let idle = null
function request(verb, where, body = '', errorType = '') {
  const data = typeof body === 'string' ? bytesOf(body) : body
  let head = `${verb} /2018-06-01/runtime/${where} HTTP/1.1\r\nHost: ${api}\r\nContent-Length: ${data.length}\r\n`
  if (data.length > 0) head += 'Content-Type: application/json\r\n'
  if (errorType !== '') head += `Lambda-Runtime-Function-Error-Type: ${errorType}\r\n`
  head += '\r\n'
  const kept = idle
  idle = null
  // A function may close what it did not open.
  return kept ? then(exchange(kept, head, data), undefined, () => exchange(connect(), head, data)) : exchange(connect(), head, data)
}

function connect() {
  const socket = dial({ host, port, noDelay: true })
  for (let i = 0; i < socketMethods.length; i++) defineProperty(socket, socketMethods[i][0], socketMethods[i][1])
  return socket.on('error', () => {}) // it is followed by 'close', and what was sent before it may have been answered
}

function exchange(socket, head, data) {
  return new Promise((resolve, reject) => {
    const lost = () => reject(new Error('the Runtime API hung up'))
    if (socket.destroyed) return lost()
    let got = null
    let answer = null // once its head is there
    let parts = []
    let left = 0
    function take(part) {
      if (!answer) {
        got = got ? concat([got, part]) : part
        const end = find(got, '\r\n\r\n')
        if (end < 0) return
        const lines = split(textOf(got, 'latin1', 0, end), '\r\n')
        answer = { status: Number(split(lines[0], ' ')[1]), headers: { __proto__: null } }
        for (let i = 1; i < lines.length; i++) {
          const colon = position(lines[i], ':')
          answer.headers[lower(cut(lines[i], 0, colon))] = trim(cut(lines[i], colon + 1))
        }
        left = Number(answer.headers['content-length'])
        part = tail(got, end + 4)
      }
      parts[parts.length] = part
      left -= part.length
      if (left > 0) return
      socket.off('data', take).off('close', lost)
      if (answer.headers.connection === 'close') socket.destroy()
      else idle = socket.unref()
      answer.body = parts.length === 1 ? parts[0] : concat(parts)
      resolve(answer)
    }
    socket.ref().on('data', take).on('close', lost)
    socket.cork()
    socket.write(head)
    socket.write(data)
    socket.uncork()
  })
}

function documentOf(error) {
  try {
    if (error instanceof Error || (error && typeof error === 'object' && 'message' in error && 'stack' in error)) {
      return {
        errorType: String(error.name ?? 'Error'),
        errorMessage: String(error.message),
        trace: split(String(error.stack ?? ''), '\n'),
      }
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] }
  } catch {
    return { errorType: 'handled', errorMessage: 'an error whose name, message or stack can not be read', trace: [] }
  }
}

// To the log, past console and process.stderr, which the function may have replaced or closed.
function complain(line) {
  let left = bytesOf(line)
  for (let tries = 0; left.length > 0 && tries < 1000; tries++) {
    try {
      left = tail(left, writeSync(2, left))
    } catch (e) {
      if (e?.code !== 'EAGAIN') return
    }
  }
}

async function report(where, error) {
  const { errorType, errorMessage, trace } = documentOf(error)
  complain(`ERROR\tInvoke Error\t${stringify({ errorType, errorMessage, stack: trace })}\n`)
  await request('POST', where, stringify({ errorType, errorMessage, trace }), cut(replace(errorType, /[^\w.]/g, ''), 0, 100))
}

class RuntimeError extends Error {
  constructor(type, message, cause) {
    super(message)
    this.name = type
    if (cause?.stack) this.stack = cause.stack
  }
}

// Finds file.function, where the file may be in directories and the function in nested exports: dir/file.a.b
async function load(name) {
  const m = /^(?<file>(?:.*\/)?[^./]+)\.(?<fn>.+)$/.exec(name)
  if (!m || name.includes('..')) throw new RuntimeError('Runtime.MalformedHandlerName', `Bad handler '${name}': want file.function`)
  const names = split(m.groups.fn, '.')
  const module = await loadModule(path.resolve(task, m.groups.file))
  const found = within(module, names) ?? within(module?.default, names)
  if (found === undefined) throw new RuntimeError('Runtime.HandlerNotFound', `${name} is undefined or not exported`)
  if (typeof found !== 'function') throw new RuntimeError('Runtime.HandlerNotFound', `${name} is not a function`)
  return found
}

function within(module, names) {
  let at = module
  for (let i = 0; i < names.length; i++) at = at?.[names[i]]
  return at
}

async function loadModule(base) {
  const file = ['', '.js', '.mjs', '.cjs'].map((e) => base + e).find((f) => fs.existsSync(f) && fs.statSync(f).isFile())
  try {
    // A CommonJS module is required rather than imported, so that exports set late are seen as in Lambda.
    if (file && !file.endsWith('.mjs') && !(file.endsWith('.js') && isModule(path.dirname(file)))) return createRequire(file)(file)
    if (file) return await import(pathToFileURL(file))
    const require = createRequire(path.join(task, 'x.js'))
    const found = resolved(require, base)
    if (found.endsWith('.mjs') || (found.endsWith('.js') && isModule(path.dirname(found)))) return await import(pathToFileURL(found))
    return require(found)
  } catch (e) {
    if (e instanceof SyntaxError) {
      // Module syntax in a .js file without "type": newer Node.js runs it, older says SyntaxError.
      if (file?.endsWith('.js') && /import statement|Unexpected token 'export'/.test(e.message)) {
        throw new RuntimeError('Runtime.UserCodeSyntaxError', `${e.message} (is "type": "module" missing in package.json?)`, e)
      }
      throw new RuntimeError('Runtime.UserCodeSyntaxError', `SyntaxError: ${e.message}`, e)
    }
    if (e?.code === 'MODULE_NOT_FOUND' || e?.code === 'ERR_MODULE_NOT_FOUND') {
      throw new RuntimeError('Runtime.ImportModuleError', `Error: ${e.message}${absent(e.message)}`, e)
    }
    throw e
  }
}

// resolved finds a directory with index.js or package.json; and else, as Lambda does, whatever require finds by the last
// part of the name: in node_modules there or at the root, and in NODE_PATH, which names the root itself.
function resolved(require, base) {
  try {
    return require.resolve(base)
  } catch (e) {
    if (e?.code !== 'MODULE_NOT_FOUND') throw e
    return require.resolve(path.basename(base), { paths: [task, path.dirname(base)] })
  }
}

// absent is advice on a module that would have been there on Lambda.
function absent(message) {
  const name = /Cannot find (?:module|package) '(aws-sdk|@aws-sdk\/[^'/]*|@smithy\/[^'/]*)/.exec(message)?.[1]
  return name ? ` (${name} is in Lambda's images and not here: add it to the package)` : ''
}

// isModule says what the nearest package.json makes of .js files.
function isModule(dir) {
  for (; dir.startsWith(task); dir = path.dirname(dir)) {
    const file = path.join(dir, 'package.json')
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file)).type === 'module'
      } catch {
        return false
      }
    }
  }
  return false
}

function contextOf(headers, entry, done) {
  const deadline = Number(headers['lambda-runtime-deadline-ms'])
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: entry.name,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: entry.group,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    clientContext: undefined,
    identity: undefined,
    getRemainingTimeInMillis: () => max(0, deadline - now()),
    done: (error, value) => done(error, value, false),
    succeed: (value) => done(null, value, false),
    fail: (error) => done(error ?? new Error('failed'), undefined, false),
  }
}

// Calls the handler and waits for its answer, whichever of Lambda's ways it takes: a promise, a callback, or the
// context's done. A value that is returned and is no promise is the answer only if none of these comes: many return what
// they just happen to have, such as a timer or a server, and answer later.
function call(entry, event, headers) {
  return new Promise((resolve, reject) => {
    let answered = false
    let returned
    const context = contextOf(headers, entry, done)
    function done(error, value, wait) {
      if (answered) return
      answered = true
      unlisten(process, 'beforeExit', empty)
      if (error !== undefined && error !== null) reject(error)
      // With a callback Lambda answers once the event loop is empty, unless the function asks otherwise.
      else if (wait && context.callbackWaitsForEmptyEventLoop) listenOnce(process, 'beforeExit', () => resolve(value))
      else resolve(value)
    }
    // What is thrown may be anything, null and undefined too.
    function failed(error) {
      if (answered) return
      answered = true
      unlisten(process, 'beforeExit', empty)
      reject(error)
    }
    const empty = () => done(null, returned, false) // nothing left to do; without an answer Lambda gives null
    listenOnce(process, 'beforeExit', empty)
    try {
      const { call: handler } = entry
      const value = handler(event, context, (error, result) => done(error, result, true))
      const fulfilled = (v) => done(null, v, false)
      if (value instanceof Promise && prototypeOf(value) === promises) then(value, fulfilled, failed)
      else if (typeof value?.then === 'function') value.then(fulfilled, failed)
      else returned = value
    } catch (e) {
      failed(e)
    }
  })
}

// Handlers that write their answer to a stream mark themselves with awslambda.streamifyResponse. Here the answer is what
// they wrote, as a whole. The status and headers of HttpResponseStream are for a gateway, and there is none.
const streams = Symbol('streams')
globalThis.awslambda = {
  streamifyResponse: (handler) => Object.assign(handler, { [streams]: true }),
  HttpResponseStream: { from: (stream) => stream },
}

async function collect(entry, event, headers) {
  const parts = []
  const stream = new Sink({ write: (part, _, done) => { parts[parts.length] = part; done() } })
  stream.setContentType = () => {}
  const written = new Promise((resolve, reject) => stream.on('finish', resolve).on('error', reject))
  const empty = () => stream.end() // nothing left to do that could write more
  listenOnce(process, 'beforeExit', empty)
  try {
    const { call: handler } = entry
    const running = handler(event, stream, contextOf(headers, entry, () => {}))
    await Promise.all([running, written])
  } finally {
    unlisten(process, 'beforeExit', empty)
  }
  return concat(parts)
}

async function main() {
  independentRandomness()
  idle = connect().unref() // before a function can close a standard stream and have its number taken
  try {
    ownEntry.call = await load(ownEntry.handler)
    if (firstEntry !== null) {
      enter(firstEntry)
      firstEntry.call = await load(firstEntry.handler)
      enter(ownEntry)
    }
  } catch (e) {
    await report('init/error', e)
    leave(1)
  }
  for (;;) {
    const event = await request('GET', 'invocation/next')
    drawn = { at: 0, from: new Fractions(0) }
    const entry = event.headers['she-entry'] === 'first' ? firstEntry : ownEntry
    if (firstEntry !== null) enter(entry)
    await answerOne(entry, event)
  }
}

async function answerOne(entry, { headers, body }) {
  const id = open = headers['lambda-runtime-aws-request-id']
  hear()
  try {
    process.env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'] ?? ''
  } catch {
    // the function put something else there
  }
  let text
  try {
    const event = parse(textOf(body))
    const answer = await (entry.call[streams] ? collect : call)(entry, event, headers)
    try {
      text = entry.call[streams] ? answer : stringify(answer === undefined ? null : answer)
      if (text === undefined) throw new TypeError(`a ${typeof answer} has no JSON form`)
    } catch (e) {
      throw new RuntimeError('Runtime.MarshalError', e.message, e)
    }
  } catch (e) {
    open = null
    await report(`invocation/${id}/error`, e)
    return
  }
  open = null
  await then(request('POST', `invocation/${id}/response`, text), undefined, () => {})
}

// What the function throws outside its own call still has to be reported as its error, not as a dead runtime.
async function crash(error) {
  try {
    await report(open ? `invocation/${open}/error` : 'init/error', error)
  } finally {
    leave(129)
  }
}

const rejected = (reason) => crash(new RuntimeError('Runtime.UnhandledPromiseRejection', messageOf(reason), reason))

function messageOf(reason) {
  try {
    return String(reason)
  } catch {
    return 'a reason without a text'
  }
}

// hear listens, also where the function has removed all listeners of this process.
function hear() {
  unlisten(process, 'uncaughtException', crash)
  unlisten(process, 'unhandledRejection', rejected)
  listen(process, 'uncaughtException', crash)
  listen(process, 'unhandledRejection', rejected)
}

function leave(status) {
  try {
    exit(process, status)
  } finally {
    reallyExit(process, status)
  }
}

hear()
main()
