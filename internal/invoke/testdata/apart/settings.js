// Sets and replaces what belongs to the whole process, as libraries and tests of authors do, and then answers.
const fs = require('fs')
const http = require('http')
const net = require('net')
const { Readable } = require('stream')

const broken = (what) => () => { throw new Error('replaced: ' + what) }

process.stdout.write = process.stderr.write = () => true
console.log = broken('console.log')
Promise.prototype.then = broken('then')
globalThis.Promise = class { constructor() { broken('Promise')() } }
JSON.parse = JSON.stringify = broken('JSON')
Buffer.from = Buffer.concat = broken('Buffer')
Buffer.prototype.toString = Buffer.prototype.indexOf = broken('Buffer')
String.prototype.split = String.prototype.trim = broken('String')
net.connect = net.createConnection = broken('net')
for (const name of ['write', 'on', 'off', 'cork', 'uncork', 'ref', 'unref', 'read', 'emit', 'end', 'destroy', 'push']) {
  net.Socket.prototype[name] = broken(name)
}
Readable.prototype.push = broken('push')
http.globalAgent = null
http.request = http.Agent = broken('http')
fs.writeSync = fs.existsSync = broken('fs')
process.exit = () => {}
process.removeAllListeners()
process.on('uncaughtException', () => {})
process.chdir('/')
fs.closeSync(1) // the next descriptor that is opened has this number
Date.now = () => NaN
Math.max = () => NaN
globalThis.setTimeout = globalThis.setImmediate = broken('timers')
globalThis.fetch = null
process.env = Object.freeze({})

exports.handler = async (event, context) => [event, context.getRemainingTimeInMillis() > 0, context.functionName]
exports.fails = async (event) => { throw new TypeError('secret ' + event) }
