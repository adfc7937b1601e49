/** Numbers as people read them. NaN, null and undefined are a dash: a missing value is never a zero. */

export type Unit =
  | 'number'
  | 'per_s'
  | 'ratio'
  | 'seconds'
  | 'ms'
  | 'bytes'
  | 'usd'
  | 'count'

type Maybe = number | null | undefined

const DASH = '–'
const SI: [number, string][] = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
]

function missing(value: Maybe): value is null | undefined {
  return value === null || value === undefined || Number.isNaN(value)
}

/** Three significant digits, without trailing zeros. */
function short(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return '0'
  if (size >= 100) return value.toFixed(0)
  if (size >= 10) return trimmed(value.toFixed(1))
  if (size >= 0.01) return trimmed(value.toFixed(size >= 1 ? 2 : 3))
  return value.toPrecision(2)
}

function trimmed(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

export function number(value: Maybe): string {
  if (missing(value)) return DASH
  if (!Number.isFinite(value)) return value > 0 ? '+∞' : '−∞'
  for (const [size, letter] of SI) if (Math.abs(value) >= size) return short(value / size) + letter
  return short(value)
}

/** Whole numbers with thousands apart: `12 345`. */
export function count(value: Maybe): string {
  return missing(value) ? DASH : Math.round(value).toLocaleString('en').replaceAll(',', ' ')
}

export function perSecond(value: Maybe): string {
  return missing(value) ? DASH : `${number(value)}/s`
}

/** 0.0123 -> `1.23%`. */
export function percent(value: Maybe): string {
  if (missing(value)) return DASH
  const hundred = value * 100
  if (hundred !== 0 && Math.abs(hundred) < 0.01) return '<0.01%'
  return `${trimmed(hundred.toFixed(Math.abs(hundred) >= 10 ? 1 : 2))}%`
}

/** An interval around a rate, as what has to be added: `±0.3`; empty where it is a point. */
export function interval(low: Maybe, high: Maybe): string {
  if (missing(low) || missing(high) || high - low < 5e-5) return ''
  return `${percent(low)} – ${percent(high)}`
}

export function milliseconds(value: Maybe): string {
  if (missing(value)) return DASH
  const size = Math.abs(value)
  if (size >= 86_400_000) return `${short(value / 86_400_000)} d`
  if (size >= 3_600_000) return `${short(value / 3_600_000)} h`
  if (size >= 60_000) return `${short(value / 60_000)} min`
  if (size >= 1000) return `${short(value / 1000)} s`
  if (size >= 1 || size === 0) return `${short(value)} ms`
  return `${short(value * 1000)} µs`
}

export function bytes(value: Maybe): string {
  if (missing(value)) return DASH
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let size = value
  let power = 0
  while (Math.abs(size) >= 1024 && power < names.length - 1) {
    size /= 1024
    power += 1
  }
  return `${short(size)} ${names[power]}`
}

/** Two decimals, more below a cent, so that a small price is not `$0.00`. */
export function usd(value: Maybe): string {
  if (missing(value)) return DASH
  const size = Math.abs(value)
  const sign = value < 0 ? '−' : ''
  if (size > 0 && size < 0.01) return `${sign}$${size < 0.0001 ? '<0.0001' : trimmed(size.toFixed(4))}`.replace('$<', '<$')
  if (size >= 10_000) return `${sign}$${number(size)}`
  return `${sign}$${size.toFixed(2)}`
}

export function formatted(value: Maybe, unit: Unit): string {
  switch (unit) {
    case 'per_s':
      return perSecond(value)
    case 'ratio':
      return percent(value)
    case 'seconds':
      return milliseconds(missing(value) ? value : value * 1000)
    case 'ms':
      return milliseconds(value)
    case 'bytes':
      return bytes(value)
    case 'usd':
      return usd(value)
    case 'count':
      return count(value)
    default:
      return number(value)
  }
}

/** The unit of a metric by its name and what metadata says (OpenMetrics names end in their unit). */
export function unitOf(metric: string, unit = ''): Unit {
  const name = metric.replace(/_(total|sum|count|bucket)$/, '')
  if (/_(count|bucket)$/.test(metric)) return 'number'
  if (unit === 'bytes' || name.endsWith('_bytes')) return 'bytes'
  if (unit === 'seconds' || name.endsWith('_seconds')) return 'seconds'
  if (unit === 'milliseconds' || name.endsWith('_milliseconds')) return 'ms'
  if (name.endsWith('_ratio')) return 'ratio'
  if (name.endsWith('_usd')) return 'usd'
  return 'number'
}

const two = (value: number): string => String(value).padStart(2, '0')

/** Local time of day; with seconds. */
export function clock(ms: number): string {
  const at = new Date(ms)
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

export function date(ms: number): string {
  const at = new Date(ms)
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
}

export function moment(ms: Maybe): string {
  return missing(ms) ? DASH : `${date(ms)} ${clock(ms)}`
}

/** `12 s ago`; a time ahead of the clock says so. */
export function ago(ms: Maybe, now: number): string {
  if (missing(ms)) return DASH
  const past = now - ms
  if (past < -1000) return `in ${whole(-past)}`
  return past < 1500 ? 'now' : `${whole(past)} ago`
}

/** A stretch of time by its largest unit, whole: `3 min`. */
export function whole(ms: number): string {
  const steps: [number, string][] = [
    [86_400_000, 'd'],
    [3_600_000, 'h'],
    [60_000, 'min'],
  ]
  for (const [size, name] of steps) if (ms >= size) return `${Math.floor(ms / size)} ${name}`
  return `${Math.max(1, Math.round(ms / 1000))} s`
}
