/** uPlot behind the few things that our charts need of it. Loaded when the first chart is drawn. */

import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { clock, date, formatted, type Unit } from '../compute/format.ts'
import { type Columns, stacked } from '../compute/series.ts'

export interface Mark {
  readonly time: number
  readonly text: string
}

export interface PlotOptions {
  readonly width: number
  readonly height: number
  readonly unit: Unit
  readonly kind: 'lines' | 'stacked'
  /** Unix seconds. */
  readonly start: number
  readonly end: number
  readonly colours: readonly string[]
  readonly shown: readonly boolean[]
  readonly marks: readonly Mark[]
  readonly onZoom: (start: number, end: number) => void
  readonly onCursor: (index: number | null) => void
}

export interface Plot {
  destroy(): void
}

/** Charts with the same key show the same moment under the pointer. */
const SYNC = 'mirubato'

export function style(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

export function draw(host: HTMLElement, columns: Columns, options: PlotOptions): Plot {
  const visible = columns.lines.filter((_, index) => options.shown[index] ?? true)
  const colours = options.colours.filter((_, index) => options.shown[index] ?? true)
  const lines = options.kind === 'stacked' ? stacked(visible) : visible
  const data = [columns.times, ...lines.map((line) => line.values)] as uPlot.AlignedData
  const chart = new uPlot(settings(lines.length, colours, options), data, host)
  return { destroy: () => chart.destroy() }
}

function settings(lines: number, colours: readonly string[], options: PlotOptions): uPlot.Options {
  const grid = style('--line')
  const text = style('--muted')
  const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' }
  return {
    width: options.width,
    height: options.height,
    legend: { show: false },
    padding: [8, 6, 0, 0],
    cursor: {
      sync: { key: SYNC },
      drag: { x: true, y: false, setScale: false },
      points: { size: 6 },
      y: false,
    },
    scales: {
      x: { time: true, range: () => [options.start, options.end] },
      y: { range: (_, low, high) => limits(low, high) },
    },
    axes: [
      { ...axis, size: 26, values: (_, splits) => splits.map((at, index) => timeText(at, splits[index - 1], options.end - options.start)), space: 64 },
      { ...axis, size: 58, values: (_, splits) => splits.map((value) => formatted(value, options.unit)), space: 34 },
    ],
    series: [{}, ...Array.from({ length: lines }, (_, index) => line(colours[index] ?? text, options.kind))],
    bands: options.kind === 'stacked' ? bands(lines, colours) : [],
    hooks: {
      draw: [(chart) => drawMarks(chart, options.marks)],
      setCursor: [(chart) => options.onCursor(chart.cursor.idx ?? null)],
      setSelect: [(chart) => zoom(chart, options.onZoom)],
    },
  }
}

function line(colour: string, kind: 'lines' | 'stacked'): uPlot.Series {
  return {
    stroke: colour,
    width: kind === 'stacked' ? 1 : 1.5,
    points: { show: false },
    spanGaps: false,
    ...(kind === 'stacked' && { fill: `${colour}40` }),
  }
}

function bands(lines: number, colours: readonly string[]): uPlot.Band[] {
  return Array.from({ length: Math.max(0, lines - 1) }, (_, index) => ({
    series: [index + 2, index + 1] as [number, number],
    fill: `${colours[index + 1] ?? '#888888'}40`,
  }))
}

/** From zero, unless something is below it; with air above. */
function limits(low: number | null, high: number | null): [number, number] {
  const bottom = Math.min(0, low ?? 0)
  const top = Math.max(high ?? 0, 0)
  if (top === bottom) return [bottom, bottom + 1]
  return [bottom < 0 ? bottom * 1.08 : 0, top > 0 ? top * 1.08 : 0]
}

/** The day where it begins or where the range is long, else the time of day. */
function timeText(at: number, before: number | undefined, span: number): string {
  const ms = at * 1000
  const day = date(ms).slice(5)
  if (span > 6 * 86_400) return day
  const time = span < 600 ? clock(ms) : clock(ms).slice(0, 5)
  return before !== undefined && date(before * 1000) !== date(ms) ? day : time
}

function drawMarks(chart: uPlot, marks: readonly Mark[]): void {
  const { ctx, bbox } = chart
  const scale = devicePixelRatio
  ctx.save()
  ctx.strokeStyle = style('--c3')
  ctx.fillStyle = style('--c3')
  ctx.font = `${10 * scale}px system-ui, sans-serif`
  ctx.textAlign = 'left'
  ctx.setLineDash([3 * scale, 3 * scale])
  for (const mark of marks) {
    const x = chart.valToPos(mark.time, 'x', true)
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.beginPath()
    ctx.moveTo(x, bbox.top)
    ctx.lineTo(x, bbox.top + bbox.height)
    ctx.stroke()
    const width = ctx.measureText(mark.text).width
    const fits = x + 4 * scale + width < bbox.left + bbox.width
    ctx.fillText(mark.text, fits ? x + 4 * scale : x - 4 * scale - width, bbox.top + 9 * scale)
  }
  ctx.restore()
}

function zoom(chart: uPlot, onZoom: PlotOptions['onZoom']): void {
  const { left, width } = chart.select
  if (width < 6) return
  onZoom(chart.posToVal(left, 'x') * 1000, chart.posToVal(left + width, 'x') * 1000)
  chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
}
