// POST /api/event-points: JSON -> Workers Analytics Engine. Only a Worker's binding can write there.
//
// Past a limit the runtime answers nothing and the point is gone, so each point is checked here first; what is rejected
// is in the answer, and its neighbours are written. Bindings: ANALYTICS, the secret RELAY_TOKEN, the variable DATASET.

// The newest row of src/mirubato/analytics_engine/limits.toml; a test compares them.
export const LIMITS = {
  blobs: 20,
  doubles: 20,
  index_bytes: 96,
  blob_bytes: 16_000,
  points_per_invocation: 250,
}

const PATH = '/api/event-points'
const BODY_BYTES_MAX = 32 * 1024 * 1024 // 250 points of 16,000 bytes, each byte as \u00XX at worst, fit
const KNOWN = new Set(['timestamp_ms', 'index', 'blobs', 'doubles', 'sample_interval'])
const utf8 = new TextEncoder()

class Refusal extends Error {
  constructor(status, code, message, field) {
    super(message)
    Object.assign(this, { status, code, field })
  }
}

export default {
  async fetch(request, env) {
    try {
      return Response.json(await answer(request, env))
    } catch (error) {
      if (!(error instanceof Refusal)) {
        console.error(error)
        return refused(new Refusal(500, 'internal', 'The relay failed; its log says more.'))
      }
      return refused(error)
    }
  },
}

function refused({ status, code, message, field }) {
  const headers = status === 401 ? { 'WWW-Authenticate': 'Bearer' } : status === 405 ? { Allow: 'POST' } : {}
  return Response.json({ error: { code, message, ...(field && { field }) } }, { status, headers })
}

async function answer(request, env) {
  if (new URL(request.url).pathname !== PATH) throw new Refusal(404, 'not_found', `Event points go to ${PATH}.`)
  if (request.method !== 'POST') throw new Refusal(405, 'wrong_method', 'Event points are sent with POST.')
  await authenticate(request, env)
  const points = checkedBody(await readJson(request), env)
  const rejected = []
  points.forEach((point, position) => {
    const problem = problemOf(point) ?? problemOfWriting(point, env)
    if (problem) rejected.push({ position, ...problem })
  })
  return { written: points.length - rejected.length, rejected }
}

// Digests are compared, so that the time taken says nothing about the token, its length included.
async function authenticate(request, env) {
  if (!env.RELAY_TOKEN) {
    throw new Refusal(503, 'not_configured', 'Set a secret first: wrangler secret put RELAY_TOKEN', 'RELAY_TOKEN')
  }
  const [scheme, token = ''] = (request.headers.get('Authorization') ?? '').split(/ +/, 2)
  const digest = (text) => crypto.subtle.digest('SHA-256', utf8.encode(text))
  const [given, wanted] = await Promise.all([digest(token), digest(env.RELAY_TOKEN)])
  if (scheme.toLowerCase() !== 'bearer' || !crypto.subtle.timingSafeEqual(given, wanted)) {
    throw new Refusal(401, 'unauthorized', 'Send "Authorization: Bearer" with the token of RELAY_TOKEN.', 'Authorization')
  }
}

async function readJson(request) {
  const chunks = []
  let size = 0
  for await (const chunk of request.body ?? []) {
    size += chunk.length
    if (size > BODY_BYTES_MAX) throw new Refusal(413, 'too_large', `A body has at most ${BODY_BYTES_MAX} bytes.`)
    chunks.push(chunk)
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await new Blob(chunks).arrayBuffer())
    return JSON.parse(text)
  } catch (error) {
    throw new Refusal(400, 'bad_json', `The body is no JSON in UTF-8: ${error.message}`)
  }
}

function checkedBody(body, env) {
  if (typeof body !== 'object' || body === null || !Array.isArray(body.points)) {
    throw new Refusal(400, 'bad_body', 'The body is an object with "dataset" and a list of "points".', 'points')
  }
  if (body.dataset !== env.DATASET) {
    const message = `This relay writes to the dataset ${JSON.stringify(env.DATASET)}.`
    throw new Refusal(400, 'unknown_dataset', message, 'dataset')
  }
  const most = LIMITS.points_per_invocation
  if (body.points.length > most) {
    const message = `${body.points.length} points; one request has at most ${most}.`
    throw new Refusal(413, 'too_many_points', message, 'points')
  }
  return body.points
}

const isList = (value) => Array.isArray(value)
const isCount = (value) => Number.isSafeInteger(value)
const bytes = (text) => utf8.encode(text).length
const past = (field, size, most) =>
  size > most ? { code: 'past_limit', field, message: `${size} are more than ${most}` } : undefined
const bad = (field, message) => ({ code: 'bad_point', field, message })

function problemOf(point) {
  return problemOfForm(point) ?? problemOfSize({ blobs: [], doubles: [], index: '', ...point })
}

function problemOfForm(point) {
  if (typeof point !== 'object' || point === null || isList(point)) return bad('points', 'a point is an object')
  const unknown = Object.keys(point).find((key) => !KNOWN.has(key))
  if (unknown !== undefined) return bad(unknown, 'a point has no such field')
  const { index = '', blobs = [], doubles = [], timestamp_ms = 0, sample_interval = 1 } = point
  if (!isText(index)) return bad('index', 'the index is a text')
  if (!isList(blobs) || !blobs.every((blob) => blob === null || isText(blob))) {
    return bad('blobs', 'blobs are a list of texts and nulls')
  }
  if (!isList(doubles) || !doubles.every(Number.isFinite)) return bad('doubles', 'doubles are a list of finite numbers')
  if (!isCount(timestamp_ms)) return bad('timestamp_ms', 'the timestamp is a whole number of milliseconds')
  if (sample_interval !== 1) {
    return bad('sample_interval', 'Analytics Engine sets its own; put a weight into a double')
  }
  return undefined
}

// Half of a surrogate pair has no UTF-8: the runtime would write another character.
function isText(value) {
  return typeof value === 'string' && value.isWellFormed()
}

function problemOfSize({ index, blobs, doubles }) {
  return (
    past('blobs', blobs.length, LIMITS.blobs) ??
    past('doubles', doubles.length, LIMITS.doubles) ??
    past('index_bytes', bytes(index), LIMITS.index_bytes) ??
    past(
      'blob_bytes',
      blobs.reduce((sum, blob) => sum + (blob === null ? 0 : bytes(blob)), 0),
      LIMITS.blob_bytes,
    )
  )
}

function problemOfWriting({ index = '', blobs = [], doubles = [] }, env) {
  try {
    env.ANALYTICS.writeDataPoint({ indexes: [index], blobs, doubles })
  } catch (error) {
    return { code: 'refused', field: 'points', message: `The runtime refused it: ${error.message}` }
  }
  return undefined
}
