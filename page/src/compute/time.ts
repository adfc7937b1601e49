/** Ranges of time as they stand in the URL: `start=1h`, or `start` and `end` as moments. Milliseconds inside. */

export type Range = { readonly last: number } | { readonly start: number; readonly end: number }

export interface Bounds {
  readonly start: number
  readonly end: number
}

const UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
}

export const PRESETS = ['5m', '15m', '30m', '1h', '3h', '6h', '12h', '1d', '2d', '7d', '30d', '90d', '1y'] as const
export const HOUR = 3_600_000

/** Prometheus' durations (`1h30m`) -> ms; null when it is none. */
export function duration(text: string): number | null {
  if (!/^([0-9]+(ms|[smhdwy]))+$/.test(text)) return null
  let total = 0
  for (const [, amount, unit] of text.matchAll(/([0-9]+)(ms|[smhdwy])/g)) total += Number(amount) * (UNITS[unit ?? ''] ?? 0)
  return total
}

/** ms -> Prometheus' duration, whole seconds where there are some. */
export function durationText(ms: number): string {
  let left = Math.round(ms)
  let text = ''
  for (const unit of ['d', 'h', 'm', 's', 'ms']) {
    const size = UNITS[unit] ?? 1
    if (left >= size) {
      text += `${Math.floor(left / size)}${unit}`
      left %= size
    }
  }
  return text || '0s'
}

/** A moment: unix seconds, unix milliseconds or a date as ISO 8601 -> ms; null when it is none. */
export function moment(text: string): number | null {
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) {
    const value = Number(text)
    return value > 1e11 ? value : value * 1000 // no one looks at data of the year 5138
  }
  const parsed = Date.parse(text)
  return Number.isNaN(parsed) ? null : parsed
}

export function rangeOf(parameters: URLSearchParams): Range {
  const from = parameters.get('start') ?? ''
  const last = duration(from)
  if (last !== null && last > 0) return { last }
  const start = moment(from)
  const end = moment(parameters.get('end') ?? '')
  if (start !== null && end !== null && end > start) return { start, end }
  return { last: HOUR }
}

/** What goes into the URL for a range; the default goes without. */
export function rangeParameters(range: Range): Record<string, string> {
  if ('last' in range) return range.last === HOUR ? {} : { start: durationText(range.last) }
  return { start: String(Math.round(range.start / 1000)), end: String(Math.ceil(range.end / 1000)) }
}

export function bounds(range: Range, now: number): Bounds {
  return 'last' in range ? { start: now - range.last, end: now } : { start: range.start, end: range.end }
}

export function length(range: Range): number {
  return 'last' in range ? range.last : range.end - range.start
}

/** Moved by a part of its length; one that ends now becomes one between moments. */
export function moved(range: Range, part: number, now: number): Range {
  const { start, end } = bounds(range, now)
  const by = (end - start) * part
  return end + by >= now ? { last: end - start } : { start: start + by, end: end + by }
}

/** Twice as long (`factor` 2) or half as long, about its middle, or back from now. */
export function zoomed(range: Range, factor: number): Range {
  if ('last' in range) return { last: Math.max(60_000, Math.round((range.last * factor) / 1000) * 1000) }
  const middle = (range.start + range.end) / 2
  const half = Math.max(30_000, ((range.end - range.start) * factor) / 2)
  return { start: Math.round(middle - half), end: Math.round(middle + half) }
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400]

/** Seconds between points: about one for every 3 pixels, and never below what is sent (every 15 s at the most often). */
export function stepFor(span: number, width: number): number {
  const ideal = span / 1000 / Math.max(60, width / 3)
  return Math.max(5, STEPS.find((step) => step >= ideal) ?? 86_400)
}

/** Seconds of a window that holds two samples: SDKs send every 60 s unless told otherwise (OTEL_METRIC_EXPORT_INTERVAL). */
const WINDOW_MIN = 150

/** The window of a rate or an increase at such a step, in seconds. */
export function windowFor(step: number, steps = 4): number {
  return Math.max(WINDOW_MIN, step * steps)
}

export function rateWindow(step: number): string {
  return durationText(windowFor(step) * 1000)
}

export function rangeText(range: Range): string {
  if ('last' in range) return `Last ${durationText(range.last)}`
  const format = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' })
  return `${format.format(range.start)} – ${format.format(range.end)}`
}
