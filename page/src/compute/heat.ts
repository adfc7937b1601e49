/** Buckets over time -> cells of a heat map: rows are buckets (seconds), columns are steps, values are counts. */

import { float, type MatrixSeries } from './series.ts'

export interface Heat {
  /** Upper bound of each row in the metric's unit, ascending; the last may be infinite. */
  readonly uppers: number[]
  /** Unix seconds of each column. */
  readonly times: number[]
  /** counts[column][row] */
  readonly counts: number[][]
  readonly most: number
}

/** From `sum by (le) (increase(..._bucket[step]))`: cumulative, so neighbours are subtracted. */
export function classicHeat(matrix: readonly MatrixSeries[], start: number, end: number, step: number): Heat {
  const rows = matrix
    .map((series) => ({ upper: float(series.metric['le'] ?? 'NaN'), series }))
    .filter((row) => !Number.isNaN(row.upper))
    .sort((left, right) => left.upper - right.upper)
  const times = steps(start, end, step)
  const counts = times.map(() => rows.map(() => 0))
  rows.forEach(({ series }, row) => {
    for (const [time, text] of series.values ?? []) {
      const cells = counts[Math.round((time - start) / step)]
      if (cells) cells[row] = float(text)
    }
  })
  for (const cells of counts) uncumulated(cells)
  return trimmed({ uppers: rows.map((row) => row.upper), times, counts, most: 0 })
}

function uncumulated(cells: number[]): void {
  for (let row = cells.length - 1; row > 0; row--) cells[row] = Math.max(0, (cells[row] ?? 0) - (cells[row - 1] ?? 0))
}

/** From exponential histograms: every bucket goes into the row (a power of the square root of 2) it lies in. */
export function nativeHeat(matrix: readonly MatrixSeries[], start: number, end: number, step: number): Heat {
  const found = new Map<number, Map<number, number>>()
  const times = steps(start, end, step)
  for (const series of matrix) {
    for (const [time, native] of series.histograms ?? []) {
      const column = Math.round((time - start) / step)
      for (const [, , upper, amount] of native.buckets ?? []) {
        const row = Math.ceil(2 * Math.log2(float(upper)) - 1e-9)
        const cells = found.get(row) ?? new Map<number, number>()
        cells.set(column, (cells.get(column) ?? 0) + float(amount))
        found.set(row, cells)
      }
    }
  }
  const keys = [...found.keys()].filter(Number.isFinite).sort((left, right) => left - right)
  const low = keys[0] ?? 0
  const rows = Array.from({ length: keys.length ? (keys[keys.length - 1] ?? 0) - low + 1 : 0 }, (_, index) => low + index)
  const counts = times.map((_, column) => rows.map((row) => found.get(row)?.get(column) ?? 0))
  return trimmed({ uppers: rows.map((row) => 2 ** (row / 2)), times, counts, most: 0 })
}

function steps(start: number, end: number, step: number): number[] {
  return Array.from({ length: Math.floor((end - start) / step + 1e-9) + 1 }, (_, index) => start + index * step)
}

/** Without the empty rows above and below what there is. */
function trimmed(heat: Heat): Heat {
  const used = heat.uppers.map((_, row) => heat.counts.some((cells) => (cells[row] ?? 0) > 0))
  const first = used.indexOf(true)
  if (first < 0) return { uppers: [], times: heat.times, counts: heat.times.map(() => []), most: 0 }
  const after = used.lastIndexOf(true) + 1
  const counts = heat.counts.map((cells) => cells.slice(first, after))
  return { uppers: heat.uppers.slice(first, after), times: heat.times, counts, most: Math.max(...counts.flat()) }
}
