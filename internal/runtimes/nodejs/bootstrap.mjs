// Runs an AWS Lambda handler written for Node.js: asks the Runtime API for the event, calls the handler, reports.
// Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
//
// It shares a process with the function's code, which may replace or set anything there: globals, prototypes, methods of
// built-in modules, listeners, the working directory. So everything that is used after that code is loaded was saved
// before, and methods of prototypes are called through saved references.
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

// method(f) returns f as a function whose first argument is the object.
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

// A socket's methods find each other through prototypes that all streams and events of this process share. So this
// socket gets the present methods as properties of its own.
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
// The own handler and one that may get an event before it, with the values that are set while it has an event.
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

let open = null // the id of the event that was not answered yet

// This process may be one of many that were restored from one snapshot, and no two may draw the same random numbers.
// OpenSSL draws from the CPU (openssl.cnf beside this file). Numbers that Node.js and V8 drew in advance are not used.
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

// Makes a request and returns {status, headers, body}. If the other side refuses a body while it is sent, that is no
// error: the answer says why. The connection is kept for the next request; the event loop does not wait for an idle one.
let idle = null
function request(verb, where, body = '', errorType = '') {
  const data = typeof body === 'string' ? bytesOf(body) : body
  let head = `${verb} /2018-06-01/runtime/${where} HTTP/1.1\r\nHost: ${api}\r\nContent-Length: ${data.length}\r\n`
  if (data.length > 0) head += 'Content-Type: application/json\r\n'
  if (errorType !== '') head += `Lambda-Runtime-Function-Error-Type: ${errorType}\r\n`
  head += '\r\n'
  const kept = idle
  idle = null
  // A function may have closed it.
  return kept ? then(exchange(kept, head, data), undefined, () => exchange(connect(), head, data)) : exchange(connect(), head, data)
}

function connect() {
  const socket = dial({ host, port, noDelay: true })
  for (let i = 0; i < socketMethods.length; i++) defineProperty(socket, socketMethods[i][0], socketMethods[i][1])
  return socket.on('error', () => {}) // 'close' follows, and the request may have been answered before
}

function exchange(socket, head, data) {
  return new Promise((resolve, reject) => {
    const lost = () => reject(new Error('the Runtime API hung up'))
    if (socket.destroyed) return lost()
    let got = null
    let answer = null // set when its head has arrived
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

// Writes to the log, not through console and process.stderr, which the function may have replaced or closed.
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
      // Module syntax in a .js file without "type": a newer Node.js runs it, an older one reports a SyntaxError.
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

// resolved finds a directory with index.js or package.json. Otherwise, as on Lambda, it finds what require finds for the
// last part of the name: in node_modules there or at the root, and in NODE_PATH, which contains the root itself.
function resolved(require, base) {
  try {
    return require.resolve(base)
  } catch (e) {
    if (e?.code !== 'MODULE_NOT_FOUND') throw e
    return require.resolve(path.basename(base), { paths: [task, path.dirname(base)] })
  }
}

// absent returns advice about a missing module that Lambda provides.
function absent(message) {
  const name = /Cannot find (?:module|package) '(aws-sdk|@aws-sdk\/[^'/]*|@smithy\/[^'/]*)/.exec(message)?.[1]
  return name ? ` (${name} is in Lambda's images and not here: add it to the package)` : ''
}

// isModule reports whether .js files are modules, by the nearest package.json.
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

// Calls the handler and waits for its answer in any of Lambda's ways: a promise, a callback, or the context's done. A
// returned value that is not a promise is the answer only if none of these comes, because many handlers return something
// irrelevant, such as a timer or a server, and answer later.
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
    // Anything may be thrown, even null and undefined.
    function failed(error) {
      if (answered) return
      answered = true
      unlisten(process, 'beforeExit', empty)
      reject(error)
    }
    const empty = () => done(null, returned, false) // nothing is left to do; without an answer Lambda returns null
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

// Handlers that write their answer to a stream are marked with awslambda.streamifyResponse. Here the answer is everything
// that they wrote. The status and headers of HttpResponseStream are for a gateway, which does not exist here.
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
  const empty = () => stream.end() // nothing is left that could write more
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
  idle = connect().unref() // before a function can close a standard stream, whose number the connection would get
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

// An error that the function throws outside its call must be reported as its error, not as a crash of the runtime.
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

// hear adds a listener again if the function has removed all listeners of this process.
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
