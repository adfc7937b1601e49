/** Latency over time: each column a step, each row a bucket, the darker the more requests. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { overRange } from '../api/prometheus.ts'
import { csv, save } from '../compute/csv.ts'
import { clock, count, date, milliseconds } from '../compute/format.ts'
import { classicHeat, type Heat, nativeHeat } from '../compute/heat.ts'
import type { Requests } from '../compute/promql.ts'
import { durationText, length, rangeParameters, stepFor, windowFor } from '../compute/time.ts'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, href, range } from '../state/place.ts'
import { dark } from '../state/theme.ts'
import { useSeen, useWidth } from './chart.tsx'
import { Card } from './small.tsx'
import { Empty, Shown } from './states.tsx'

const HEIGHT = 200
const LEFT = 58
const BOTTOM = 18
/** Columns narrower than this in pixels cannot be pointed at. */
const COLUMN_MIN = 9

interface Asked {
  readonly heat: Heat
  readonly expr: string
}

async function ask(requests: Requests, step: number, abort: AbortSignal): Promise<Asked> {
  const bounds = currentBounds()
  const start = Math.ceil(bounds.start / 1000 / step) * step
  const end = Math.floor(bounds.end / 1000 / step) * step
  const window = durationText(windowFor(step, 1) * 1000)
  const classic = await overRange(requests.heat(window), start * 1000, end * 1000, step, abort)
  if (classic.data.length) return { heat: classicHeat(classic.data, start, end, step), expr: requests.heat(window) }
  const native = await overRange(requests.nativeHeat(window), start * 1000, end * 1000, step, abort)
  return { heat: nativeHeat(native.data, start, end, step), expr: requests.nativeHeat(window) }
}

/** `toSeconds` is the length of the metric's unit in seconds. */
export function HeatMap({ requests, who, toSeconds }: { requests: Requests; who: string; toSeconds: number }) {
  const host = useRef<HTMLDivElement>(null)
  const width = useWidth(host)
  const seen = useSeen(host)
  const step = Math.max(15, stepFor(length(range.value), ((width || 600) - LEFT) / (COLUMN_MIN / 3)))
  const key = width && seen ? `heat ${who} ${step} ${JSON.stringify(rangeParameters(range.value))}` : ''
  const loaded = useKept(useLoad(key, (abort) => ask(requests, step, abort)))
  const expr = loaded.state === 'ready' ? loaded.data.expr : requests.heat('5m')
  const actions = (
    <>
      <a class="quiet" href={href('explore', { q: [expr] })} aria-label="Query of the latency heat map">
        Query
      </a>
      <button type="button" class="quiet" aria-label="Export the latency heat map as CSV" disabled={loaded.state !== 'ready'} onClick={() => loaded.state === 'ready' && exportHeat(loaded.data.heat)}>
        CSV
      </button>
    </>
  )
  return (
    <Card title="Latency of all requests" actions={actions} busy={loaded.state === 'loading'}>
      <div ref={host} style={{ minHeight: `${HEIGHT + 20}px` }}>
        <Shown loaded={loaded} what="latency heat map">
          {({ heat }) => (heat.most > 0 ? <Cells heat={heat} width={width} step={step} toMs={toSeconds * 1000} /> : <Empty title="No durations in this range" />)}
        </Shown>
      </div>
    </Card>
  )
}

function Cells({ heat, width, step, toMs }: { heat: Heat; width: number; step: number; toMs: number }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [tip, setTip] = useState('')
  const isDark = dark.value
  useEffect(() => {
    if (canvas.current) paint(canvas.current, heat, width, toMs)
  }, [heat, width, isDark])
  const point = (event: MouseEvent): void => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect()
    setTip(told(heat, step, toMs, (event.clientX - box.left - LEFT) / (width - LEFT), 1 - (event.clientY - box.top) / (HEIGHT - BOTTOM)))
  }
  return (
    <>
      <canvas ref={canvas} style={{ width: `${width}px`, height: `${HEIGHT}px`, display: 'block' }} onMouseMove={point} onMouseLeave={() => setTip('')} role="img" aria-label={spoken(heat, toMs)} />
      <div class="heat-tip">{tip || 'Point at a cell for its count.'}</div>
    </>
  )
}

function bucketText(heat: Heat, row: number, toMs: number): string {
  const upper = heat.uppers[row] ?? 0
  const lower = row > 0 ? (heat.uppers[row - 1] ?? 0) : 0
  return upper === Number.POSITIVE_INFINITY ? `over ${milliseconds(lower * toMs)}` : `up to ${milliseconds(upper * toMs)}`
}

function told(heat: Heat, step: number, toMs: number, across: number, up: number): string {
  const column = Math.floor(across * heat.times.length)
  const row = Math.floor(up * heat.uppers.length)
  const time = heat.times[column]
  const amount = heat.counts[column]?.[row]
  if (time === undefined || amount === undefined) return ''
  const share = amount / Math.max(1e-9, heat.counts[column]?.reduce((sum, one) => sum + one, 0) ?? 0)
  return `${clock((time - windowFor(step, 1)) * 1000)} – ${clock(time * 1000)}: ${count(amount)} requests ${bucketText(heat, row, toMs)} (${Math.round(share * 100)} %)`
}

function spoken(heat: Heat, toMs: number): string {
  const totals = heat.uppers.map((_, row) => heat.counts.reduce((sum, cells) => sum + (cells[row] ?? 0), 0))
  return `Requests by duration. ${totals.map((total, row) => `${bucketText(heat, row, toMs)}: ${count(total)}`).join('; ')}`
}

function paint(canvas: HTMLCanvasElement, heat: Heat, width: number, toMs: number): void {
  const scale = devicePixelRatio
  canvas.width = width * scale
  canvas.height = HEIGHT * scale
  const context = canvas.getContext('2d')
  if (!context) return
  const style = getComputedStyle(document.documentElement)
  context.scale(scale, scale)
  context.clearRect(0, 0, width, HEIGHT)
  const across = (width - LEFT) / heat.times.length
  const up = (HEIGHT - BOTTOM) / heat.uppers.length
  context.fillStyle = style.getPropertyValue('--accent')
  heat.counts.forEach((cells, column) =>
    cells.forEach((amount, row) => {
      if (amount <= 0) return
      // The square root shows the few slow requests beside the many fast ones.
      context.globalAlpha = 0.1 + 0.9 * Math.sqrt(amount / heat.most)
      context.fillRect(LEFT + column * across, HEIGHT - BOTTOM - (row + 1) * up, Math.max(1, across - 1), Math.max(1, up - 1))
    }),
  )
  context.globalAlpha = 1
  context.fillStyle = style.getPropertyValue('--muted')
  context.font = '11px system-ui, sans-serif'
  labels(context, heat, width, up, across, toMs)
}

function labels(context: CanvasRenderingContext2D, heat: Heat, width: number, up: number, across: number, toMs: number): void {
  const skipRows = Math.ceil(14 / up)
  heat.uppers.forEach((upper, row) => {
    if (row % skipRows) return
    const text = Number.isFinite(upper) ? milliseconds(upper * toMs) : 'more'
    context.fillText(text, LEFT - 6 - context.measureText(text).width, HEIGHT - BOTTOM - (row + 1) * up + Math.min(up, 12))
  })
  const skipColumns = Math.ceil(76 / across)
  const long = (heat.times[heat.times.length - 1] ?? 0) - (heat.times[0] ?? 0) > 2 * 86_400
  for (let column = 0; column < heat.times.length; column += skipColumns) {
    const ms = (heat.times[column] ?? 0) * 1000
    const x = LEFT + column * across
    if (x < width - 40) context.fillText(long ? date(ms).slice(5) : clock(ms).slice(0, 5), x, HEIGHT - 5)
  }
}

function exportHeat(heat: Heat): void {
  const rows = heat.times.map((time, column) => [new Date(time * 1000).toISOString(), ...(heat.counts[column] ?? [])])
  save('latency.csv', csv(['time', ...heat.uppers.map((upper) => `le ${upper}`)], rows))
}
