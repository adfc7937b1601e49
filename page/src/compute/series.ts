/** What the Prometheus API answers -> columns that a chart takes, names for a legend, rows for a table. */

export type Labels = Readonly<Record<string, string>>

export interface Native {
  readonly count: string
  readonly sum: string
  readonly buckets?: readonly (readonly [number, string, string, string])[]
}

export interface MatrixSeries {
  readonly metric: Labels
  readonly values?: readonly (readonly [number, string])[]
  readonly histograms?: readonly (readonly [number, Native])[]
}

export interface VectorSeries {
  readonly metric: Labels
  readonly value?: readonly [number, string]
  readonly histogram?: readonly [number, Native]
}

export function float(text: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY
  if (text === '-Inf') return Number.NEGATIVE_INFINITY
  return Number(text)
}

export interface Line {
  readonly name: string
  readonly labels: Labels
  /** One for each time; null where there is nothing, or nothing that can be drawn. */
  readonly values: (number | null)[]
}

export interface Columns {
  /** Unix seconds, every step of the range. */
  readonly times: number[]
  readonly lines: Line[]
}

/** A place for each step, so that a gap in the data is a gap in the chart. */
export function columns(
  matrix: readonly MatrixSeries[],
  start: number,
  end: number,
  step: number,
  name: (labels: Labels, index: number) => string,
): Columns {
  const size = Math.floor((end - start) / step + 1e-9) + 1
  const times = Array.from({ length: size }, (_, index) => start + index * step)
  const lines = matrix.map((series, index) => ({
    name: name(series.metric, index),
    labels: series.metric,
    values: placed(series, start, step, size),
  }))
  return { times, lines }
}

function placed(series: MatrixSeries, start: number, step: number, size: number): (number | null)[] {
  const values: (number | null)[] = Array.from({ length: size }, () => null)
  const put = (time: number, value: number): void => {
    const at = Math.round((time - start) / step)
    if (at >= 0 && at < size && Number.isFinite(value)) values[at] = value
  }
  for (const [time, text] of series.values ?? []) put(time, float(text))
  // A histogram in a line chart is drawn by its average, as Prometheus' own page does.
  for (const [time, native] of series.histograms ?? []) put(time, float(native.sum) / float(native.count))
  return values
}

/** `name{a="b"}` as PromQL writes it. */
export function seriesName(labels: Labels): string {
  const { __name__: name = '', ...rest } = labels
  const inside = Object.entries(rest).map(([key, value]) => `${key}="${value}"`)
  return inside.length ? `${name}{${inside.join(', ')}}` : name || '{}'
}

/** Only what tells series apart: the values of labels that differ. */
export function shortNames(all: readonly Labels[]): string[] {
  if (all.length === 1 && all[0]) return [seriesName(all[0])]
  const keys = new Set(all.flatMap((labels) => Object.keys(labels)))
  const differing = [...keys].filter((key) => new Set(all.map((labels) => labels[key])).size > 1)
  return all.map((labels) => differing.map((key) => labels[key]).filter(Boolean).join(' · ') || seriesName(labels))
}

/** Sums on top of each other, for stacked areas: the last line is the sum of all. */
export function stacked(lines: readonly Line[]): Line[] {
  const total: number[] = []
  return lines.map((line) => ({
    ...line,
    values: line.values.map((value, index) => {
      total[index] = (total[index] ?? 0) + (value ?? 0)
      return value === null && !total[index] ? null : (total[index] ?? 0)
    }),
  }))
}

export interface Summary {
  readonly last: number | null
  readonly min: number | null
  readonly max: number | null
  readonly mean: number | null
}

export function summary(values: readonly (number | null)[]): Summary {
  const known = values.filter((value): value is number => value !== null)
  if (!known.length) return { last: null, min: null, max: null, mean: null }
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  let sum = 0
  for (const value of known) {
    low = Math.min(low, value)
    high = Math.max(high, value)
    sum += value
  }
  return { last: known[known.length - 1] ?? null, min: low, max: high, mean: sum / known.length }
}
