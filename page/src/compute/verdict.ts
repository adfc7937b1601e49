/** Before and after a deploy: has it become worse? Pure arithmetic on counts. */

export interface Window {
  readonly requests: number
  readonly errors: number
  readonly p95: number | null
}

export interface Verdict {
  readonly word: 'better' | 'worse' | 'same' | 'unsure'
  readonly why: string
}

/** Fewer requests than this on either side say nothing about a share of them. */
const REQUESTS_MIN = 50
/** 95 % of a normal distribution lies within. */
const Z = 1.96
const P95_CHANGE = 0.2

/** Wilson's interval of a share (E. B. Wilson, 1927): right at 0 and for few requests too. */
export function wilson(part: number, all: number): readonly [number, number] {
  if (all <= 0) return [0, 1]
  const share = Math.min(1, part / all)
  const square = (Z * Z) / all
  const middle = (share + square / 2) / (1 + square)
  const half = (Z * Math.sqrt((share * (1 - share)) / all + square / (4 * all))) / (1 + square)
  return [Math.max(0, middle - half), Math.min(1, middle + half)]
}

export function verdict(before: Window, after: Window): Verdict {
  if (before.requests < REQUESTS_MIN || after.requests < REQUESTS_MIN)
    return { word: 'unsure', why: `fewer than ${REQUESTS_MIN} requests on one side` }
  const [lowBefore, highBefore] = wilson(before.errors, before.requests)
  const [lowAfter, highAfter] = wilson(after.errors, after.requests)
  if (lowAfter > highBefore) return { word: 'worse', why: 'more requests fail' }
  const slower = before.p95 !== null && after.p95 !== null && before.p95 > 0 ? after.p95 / before.p95 - 1 : 0
  if (slower > P95_CHANGE) return { word: 'worse', why: `p95 is ${Math.round(slower * 100)} % longer` }
  if (highAfter < lowBefore) return { word: 'better', why: 'fewer requests fail' }
  if (slower < -P95_CHANGE) return { word: 'better', why: `p95 is ${Math.round(-slower * 100)} % shorter` }
  return { word: 'same', why: 'no difference beyond chance' }
}
