// What is answered is made from a seed, and what is read is told back, so that two runtimes can be compared.
function random(seed) {
  let a = seed >>> 0
  return (n) => { // mulberry32
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % n
  }
}

const numbers = [0, -0, 0.1, -1.5, 1e21, 1e-7, 2 ** 53, 5e-324, 1.7976931348623157e308, 123456789.12345679, NaN, Infinity, -Infinity]
const pieces = ['', 'a', 'Grüße', '😀', '"', '\\', '/', '\n', '\0', '\x1f', '\x7f', '\u2028', '\ufeff', '<b>', '\ud83d', '\ude00', '1', '__proto__']
class Own { constructor() { this.b = 1; this.a = 2 } get c() { return 3 } }
class Shown extends Own { toJSON(key) { return { key, shown: true } } }

const one = (r, of) => of[r(of.length)]
const text = (r) => Array.from({ length: r(4) }, () => one(r, pieces)).join('')

function broken(r) {
  const cycle = { list: [] }
  cycle.list.push(cycle)
  let deep = []
  for (let i = 0; i < 1e5; i++) deep = [deep]
  return one(r, [
    () => 12n, () => cycle, () => ({ toJSON() { throw new RangeError('of toJSON') } }), () => ({ get a() { throw new TypeError('of a getter') } }),
    () => deep, () => new Proxy({}, { ownKeys() { throw new Error('of a proxy') } }), () => Object(1n), () => [1n],
  ])()
}

function value(r, depth) {
  const leaves = [
    () => undefined, () => null, () => r(2) === 0, () => one(r, numbers), () => r(1e9) / 997, () => text(r), () => Symbol('s'), () => () => 1,
    () => new Date(r(2e9) * 1000), () => new Date(NaN), () => new Map([[1, 2]]), () => new Set([1]), () => Buffer.from(text(r)), () => new Uint8Array([1, 255]),
    () => /a/g, () => new Error('e'), () => new Own(), () => new Shown(), () => Object('boxed'), () => Object(false), () => Object(-0), () => new URL('urn:x'),
    () => [, 1, , undefined], () => new ArrayBuffer(2), () => new Float64Array([NaN, -0]), () => new WeakMap(), () => ({ toJSON: () => undefined }), () => ({ toJSON: 1 }),
    () => Object.defineProperty({}, 'hidden', { value: 1 }), () => ({ [Symbol('k')]: 1 }), () => new Proxy([1, 2], {}),
  ]
  const trees = [
    () => Array.from({ length: r(5) }, () => value(r, depth - 1)),
    () => Object.fromEntries(Array.from({ length: r(5) }, () => [text(r), value(r, depth - 1)])),
    () => Object.assign(Object.create(null), { [text(r)]: value(r, depth - 1) }),
    () => ({ 10: value(r, depth - 1), b: value(r, depth - 1), 9: value(r, depth - 1) }),
  ]
  return one(r, depth > 0 ? [...trees, ...trees, ...leaves] : leaves)()
}

function made(seed) {
  const r = random(seed)
  const v = value(r, 4)
  if (seed % 4 !== 0) return v
  const b = broken(r)
  return one(r, [() => b, () => [b], () => ({ v, b })])()
}

exports.writes = async (seed) => made(seed)

exports.throws = async (seed) => {
  const r = random(seed)
  throw one(r, [
    () => new RangeError(text(r)), () => text(r), () => null, () => undefined, () => 7, () => ({ message: text(r) }), () => ({}),
    () => Object.assign(new Error(text(r)), { name: 'Own Name!', code: 'E' }), () => new (class Sad extends Error {})(text(r)), () => Symbol('s'), () => [1],
    () => new AggregateError([new Error('a')], 'all'), () => new Error('outer', { cause: new Error('inner') }),
  ])()
}

function told(v) {
  if (Array.isArray(v)) return `[${v.map(told)}]`
  if (v && typeof v === 'object') return `{${Reflect.ownKeys(v).map((k) => `${JSON.stringify(k)}:${told(v[k])}`)}}`
  return Object.is(v, -0) ? '-0' : `${typeof v} ${JSON.stringify(v)}`
}

exports.reads = async (event) => told(event).replace(/[^\x20-\x7e]/g, (c) => `<${c.charCodeAt(0).toString(16)}>`)
