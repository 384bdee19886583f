// Runs an AWS Lambda handler written for Node.js: asks the Runtime API for the event, calls the handler, reports.
// Format: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import crypto from 'node:crypto'
import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import path from 'node:path'
import { Writable } from 'node:stream'
import { pathToFileURL } from 'node:url'

const { AWS_LAMBDA_RUNTIME_API: api, LAMBDA_TASK_ROOT: task, _HANDLER: handlerName } = process.env
const [host, port] = api.split(':')
let open = null // the id of the event that has no answer yet

// This process may be a copy of one that waited for its event, and no two copies may draw the same random numbers.
// OpenSSL draws from the CPU (openssl.cnf beside this file); what Node.js and V8 keep in stock is not used.
let drawn = { at: 0, from: new Float64Array(0) }
function independentRandomness() {
  const uuid = crypto.randomUUID
  crypto.randomUUID = (options) => uuid({ ...options, disableEntropyCache: true })
  Object.getPrototypeOf(crypto.webcrypto).randomUUID = () => crypto.randomUUID()
  Math.random = () => {
    if (drawn.at === drawn.from.length) {
      const bits = crypto.randomFillSync(new BigUint64Array(32))
      drawn = { at: 0, from: Float64Array.from(bits, (b) => Number(b >> 11n) / 2 ** 53) }
    }
    return drawn.from[drawn.at++]
  }
  syncBuiltinESMExports()
}

// Asks and gives {status, headers, body}. A body that the other side refuses while it is sent is no error: the answer
// says why. The connection is kept for the next question; the event loop does not wait for one that is idle.
let idle = null
function request(method, where, body = '', headers = {}) {
  const data = Buffer.from(body)
  const fields = Object.entries({ Host: api, 'Content-Length': data.length, ...headers })
  const head = `${method} /2018-06-01/runtime/${where} HTTP/1.1\r\n${fields.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`
  const kept = idle
  idle = null
  // A function may close what it did not open.
  return kept ? exchange(kept, head, data).catch(() => exchange(connect(), head, data)) : exchange(connect(), head, data)
}

// An error is followed by 'close', and what was sent before it may have been answered.
const connect = () => net.connect({ host, port, noDelay: true }).on('error', () => {})

function exchange(socket, head, data) {
  return new Promise((resolve, reject) => {
    const lost = () => reject(new Error('the Runtime API hung up'))
    if (socket.destroyed) return lost()
    let got = []
    let answer = null // once its head is there
    let left = 0
    function take(part) {
      if (!answer) {
        const start = Buffer.concat([...got, part])
        const end = start.indexOf('\r\n\r\n')
        if (end < 0) return got = [start]
        const [first, ...lines] = start.toString('latin1', 0, end).split('\r\n')
        answer = { status: Number(first.split(' ')[1]), headers: {} }
        for (const line of lines) {
          const colon = line.indexOf(':')
          answer.headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
        }
        left = Number(answer.headers['content-length'])
        got = []
        part = start.subarray(end + 4)
      }
      got.push(part)
      left -= part.length
      if (left > 0) return
      socket.off('data', take).off('close', lost)
      if (answer.headers.connection === 'close') socket.destroy()
      else idle = socket.unref()
      resolve({ ...answer, body: Buffer.concat(got) })
    }
    socket.ref().on('data', take).on('close', lost)
    socket.cork()
    socket.write(head)
    socket.write(data)
    socket.uncork()
  })
}

function documentOf(error) {
  if (error instanceof Error || (error && typeof error === 'object' && 'message' in error && 'stack' in error)) {
    return {
      errorType: String(error.name ?? 'Error'),
      errorMessage: String(error.message),
      trace: String(error.stack ?? '').split('\n'),
    }
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] }
}

async function report(where, error) {
  const document = documentOf(error)
  const { trace: stack, ...shown } = document
  fs.writeSync(2, `ERROR\tInvoke Error\t${JSON.stringify({ ...shown, stack })}\n`)
  const type = document.errorType.replace(/[^\w.]/g, '').slice(0, 100)
  await request('POST', where, JSON.stringify(document), {
    'Content-Type': 'application/json', 'Lambda-Runtime-Function-Error-Type': type,
  })
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
  const module = await loadModule(path.resolve(task, m.groups.file))
  const found = m.groups.fn.split('.').reduce((at, key) => at?.[key], module) ??
    m.groups.fn.split('.').reduce((at, key) => at?.[key], module?.default)
  if (found === undefined) throw new RuntimeError('Runtime.HandlerNotFound', `${name} is undefined or not exported`)
  if (typeof found !== 'function') throw new RuntimeError('Runtime.HandlerNotFound', `${name} is not a function`)
  return found
}

async function loadModule(base) {
  const file = ['', '.js', '.mjs', '.cjs'].map((e) => base + e).find((f) => fs.existsSync(f) && fs.statSync(f).isFile())
  try {
    // A CommonJS module is required rather than imported, so that exports set late are seen as in Lambda.
    if (file && !file.endsWith('.mjs') && !(file.endsWith('.js') && isModule(path.dirname(file)))) return createRequire(file)(file)
    if (file) return await import(pathToFileURL(file))
    return createRequire(path.join(task, 'x.js'))(base) // a directory with index.js or package.json
  } catch (e) {
    if (e instanceof SyntaxError) {
      // Module syntax in a .js file without "type": newer Node.js runs it, older says SyntaxError.
      if (file?.endsWith('.js') && /import statement|Unexpected token 'export'/.test(e.message)) {
        throw new RuntimeError('Runtime.UserCodeSyntaxError', `${e.message} (is "type": "module" missing in package.json?)`, e)
      }
      throw new RuntimeError('Runtime.UserCodeSyntaxError', `SyntaxError: ${e.message}`, e)
    }
    if (e?.code === 'MODULE_NOT_FOUND' || e?.code === 'ERR_MODULE_NOT_FOUND') {
      throw new RuntimeError('Runtime.ImportModuleError', `Error: ${e.message}`, e)
    }
    throw e
  }
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

function contextOf(headers, done) {
  const deadline = Number(headers['lambda-runtime-deadline-ms'])
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    clientContext: undefined,
    identity: undefined,
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    done: (error, value) => done(error, value, false),
    succeed: (value) => done(null, value, false),
    fail: (error) => done(error ?? new Error('failed'), undefined, false),
  }
}

// Calls the handler and waits for its answer, whichever of Lambda's ways it takes: a promise, a callback, or the
// context's done.
function call(handler, event, headers) {
  return new Promise((resolve, reject) => {
    let answered = false
    const context = contextOf(headers, done)
    function done(error, value, wait) {
      if (answered) return
      answered = true
      process.removeListener('beforeExit', empty)
      const settle = () => (error ? reject(error) : resolve(value))
      // With a callback Lambda answers once the event loop is empty, unless the function asks otherwise.
      if (wait && context.callbackWaitsForEmptyEventLoop) process.once('beforeExit', settle)
      else settle()
    }
    const empty = () => {
      if (!answered) resolve(null) // nothing left to do and no answer: Lambda gives null
    }
    process.once('beforeExit', empty)
    const value = handler(event, context, (error, result) => done(error, result, true))
    if (typeof value?.then === 'function') value.then((v) => done(null, v, false), (e) => done(e ?? new Error('rejected'), undefined, false))
    else if (value !== undefined && handler.length < 3) done(null, value, false)
  })
}

// Handlers that write their answer to a stream mark themselves with awslambda.streamifyResponse. Here the answer is what
// they wrote, as a whole. The status and headers of HttpResponseStream are for a gateway, and there is none.
const streams = Symbol('streams')
globalThis.awslambda = {
  streamifyResponse: (handler) => Object.assign(handler, { [streams]: true }),
  HttpResponseStream: { from: (stream) => stream },
}

async function collect(handler, event, headers) {
  const parts = []
  const stream = new Writable({ write: (part, _, done) => { parts.push(part); done() } })
  stream.setContentType = () => {}
  const written = new Promise((resolve, reject) => stream.on('finish', resolve).on('error', reject))
  const empty = () => stream.end() // nothing left to do that could write more
  process.once('beforeExit', empty)
  try {
    await Promise.all([handler(event, stream, contextOf(headers, () => {})), written])
  } finally {
    process.removeListener('beforeExit', empty)
  }
  return Buffer.concat(parts)
}

async function main() {
  let handler
  independentRandomness()
  try {
    handler = await load(handlerName)
  } catch (e) {
    await report('init/error', e)
    process.exit(1)
  }
  for (;;) {
    const event = await request('GET', 'invocation/next')
    drawn = { at: 0, from: new Float64Array(0) }
    await answerOne(handler, event)
  }
}

async function answerOne(handler, { headers, body }) {
  const id = open = headers['lambda-runtime-aws-request-id']
  process.env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'] ?? ''
  let text
  try {
    const event = JSON.parse(body)
    const answer = await (handler[streams] ? collect : call)(handler, event, headers)
    try {
      text = handler[streams] ? answer : JSON.stringify(answer === undefined ? null : answer)
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
  await request('POST', `invocation/${id}/response`, text, { 'Content-Type': 'application/json' }).catch(() => {})
}

// What the function throws outside its own call still has to be reported as its error, not as a dead runtime.
async function crash(error) {
  try {
    await report(open ? `invocation/${open}/error` : 'init/error', error)
  } finally {
    process.exit(129)
  }
}
process.on('uncaughtException', crash)
process.on('unhandledRejection', (reason) => crash(new RuntimeError('Runtime.UnhandledPromiseRejection', String(reason), reason)))

main()
