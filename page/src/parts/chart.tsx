/** A chart over the shared range: asks for itself when it comes into view, says its query, goes out as CSV. */

import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { type Answer, overRange } from '../api/prometheus.ts'
import { csv, save } from '../compute/csv.ts'
import { formatted, moment, type Unit } from '../compute/format.ts'
import { type Columns, columns, type Labels, type MatrixSeries, seriesName, shortNames, summary } from '../compute/series.ts'
import { length, type Range, rangeParameters, rateWindow, stepFor } from '../compute/time.ts'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, href, range, setRange } from '../state/place.ts'
import { dark } from '../state/theme.ts'
import type { Mark, Plot } from './plot.ts'
import { Card } from './small.tsx'
import { Empty, Partial, Shown } from './states.tsx'

export interface Query {
  readonly expr: string
  /** Of its series in the legend; the labels that differ, if not given. */
  readonly name?: string | ((labels: Labels) => string)
  /** Which of its series are drawn; a service is never counted from two families. */
  readonly keep?: (labels: Labels) => boolean
}

interface Properties {
  readonly title: string
  readonly unit?: Unit
  readonly queries: (window: string) => readonly Query[]
  readonly kind?: 'lines' | 'stacked'
  readonly height?: number
  readonly marks?: readonly Mark[]
  readonly empty?: string
  /** A colour for a line, by its name. */
  readonly colour?: (name: string) => string | undefined
}

export interface Asked {
  readonly columns: Columns
  readonly notes: readonly string[]
  readonly start: number
  readonly end: number
  readonly step: number
}

/** More lines than this are a carpet. */
const LINES_MAX = 60

export function Chart(properties: Properties) {
  const host = useRef<HTMLDivElement>(null)
  const width = useWidth(host)
  const seen = useSeen(host)
  const step = stepFor(length(range.value), width || 600)
  const queries = properties.queries(rateWindow(step))
  const key = seen && width ? chartKey(queries, step, range.value) : ''
  const loaded = useKept(useLoad(key, (abort) => ask(queries, step, abort)))
  const height = properties.height ?? 190
  const actions = (
    <>
      <a class="quiet" href={href('explore', { q: queries.map((query) => query.expr) })} aria-label={`Query of ${properties.title}`}>
        Query
      </a>
      <button
        type="button"
        class="quiet"
        aria-label={`Export ${properties.title} as CSV`}
        disabled={loaded.state !== 'ready'}
        onClick={() => loaded.state === 'ready' && exportColumns(properties.title, loaded.data.columns)}
      >
        CSV
      </button>
    </>
  )
  return (
    <Card title={properties.title} actions={actions} class="chart" busy={loaded.state === 'loading'}>
      <div ref={host} style={{ minHeight: `${height}px` }}>
        <Shown loaded={loaded} what={properties.title} lines={3}>
          {(asked) => <Lines asked={asked} width={width} height={height} {...properties} />}
        </Shown>
      </div>
    </Card>
  )
}

export function chartKey(queries: readonly Query[], step: number, over: Range): string {
  return JSON.stringify([queries.map((query) => query.expr), step, 'last' in over ? over.last : rangeParameters(over)])
}

export async function ask(queries: readonly Query[], step: number, abort?: AbortSignal): Promise<Asked> {
  const bounds = currentBounds()
  const start = Math.floor(bounds.start / 1000 / step) * step
  const end = Math.floor(bounds.end / 1000 / step) * step
  const answers = await Promise.all(queries.map((query) => overRange(query.expr, start * 1000, end * 1000, step, abort)))
  return { ...joined(queries, answers, start, end, step), start: bounds.start / 1000, end: bounds.end / 1000, step }
}

function joined(
  queries: readonly Query[],
  answers: readonly Answer<readonly MatrixSeries[]>[],
  start: number,
  end: number,
  step: number,
): { columns: Columns; notes: string[] } {
  const notes = answers.flatMap((answer) => [...answer.warnings, ...answer.infos])
  const parts = answers.map((answer, index) => {
    const { name, keep } = queries[index] ?? {}
    const matrix = keep ? answer.data.filter((series) => keep(series.metric)) : answer.data
    const names = shortNames(matrix.map((series) => series.metric))
    const named = (labels: Labels, at: number): string =>
      typeof name === 'function' ? name(labels) : name && matrix.length === 1 ? name : [name, names[at]].filter(Boolean).join(' ')
    return columns(matrix, start, end, step, named)
  })
  const lines = parts.flatMap((part) => part.lines)
  if (lines.length > LINES_MAX) notes.push(`${lines.length} series: the first ${LINES_MAX} are drawn. topk() keeps the largest.`)
  return { columns: { times: parts[0]?.times ?? [], lines: lines.slice(0, LINES_MAX) }, notes: [...new Set(notes)] }
}

interface LinesProperties {
  readonly title: string
  readonly asked: Asked
  readonly width: number
  readonly height: number
  readonly unit?: Unit
  readonly kind?: 'lines' | 'stacked'
  readonly marks?: readonly Mark[]
  readonly empty?: string
  readonly colour?: (name: string) => string | undefined
}

const PALETTE = ['--c0', '--c1', '--c2', '--c3', '--c4', '--c5', '--c6', '--c7']

export function Lines(properties: LinesProperties) {
  const { asked, width, height, title, unit = 'number', kind = 'lines', marks = [], empty, colour } = properties
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<Plot | null>(null)
  const [only, setOnly] = useState<ReadonlySet<string>>(new Set())
  const [cursor, setCursor] = useState<number | null>(null)
  const { lines } = asked.columns
  const names = lines.map((line) => line.name)
  const shown = names.map((name) => only.size === 0 || !names.some((one) => only.has(one)) || only.has(name))
  const isDark = dark.value
  const variables = useMemo(() => names.map((name, index) => colour?.(name) ?? PALETTE[index % PALETTE.length] ?? '--c0'), [asked])
  useEffect(() => {
    let gone = false
    // A chart without its library is a table of numbers in the legend: what is asked for comes first.
    void import('./plot.ts').then(({ draw, style }) => {
      if (gone || !place.current || !width || !lines.length) return
      plot.current?.destroy()
      plot.current = draw(place.current, asked.columns, {
        width,
        height,
        unit,
        kind,
        start: asked.start,
        end: asked.end,
        colours: variables.map(style),
        shown,
        marks,
        onZoom: (start, end) => setRange({ start: Math.floor(start), end: Math.ceil(end) }),
        onCursor: setCursor,
      })
    })
    return () => {
      gone = true
    }
  }, [asked, width, height, unit, kind, isDark, shown.join(), JSON.stringify(marks)])
  useEffect(() => () => plot.current?.destroy(), [])
  if (!lines.length) return <Empty title="Nothing in this range">{empty ?? 'No series answers this query between these times.'}</Empty>
  const choose = (name: string, more: boolean): void => setOnly((before) => chosen(before, name, more))
  return (
    <>
      <Partial notes={asked.notes} />
      <div class="plot" ref={place} role="img" aria-label={spoken(title, asked.columns, unit)} style={{ height: `${height}px` }} />
      <Legend columns={asked.columns} shown={shown} variables={variables} cursor={cursor} unit={unit} onChoose={choose} />
    </>
  )
}

/** A click isolates a line, a click on the isolated one shows all again, with Ctrl or Shift lines are added. */
export function chosen(before: ReadonlySet<string>, name: string, more: boolean): ReadonlySet<string> {
  if (!more) return before.size === 1 && before.has(name) ? new Set() : new Set([name])
  const next = new Set(before)
  if (!next.delete(name)) next.add(name)
  return next
}

function Legend(properties: {
  columns: Columns
  shown: readonly boolean[]
  variables: readonly string[]
  cursor: number | null
  unit: Unit
  onChoose: (name: string, more: boolean) => void
}) {
  const { columns: of, shown, variables, cursor, unit, onChoose } = properties
  const time = cursor === null ? undefined : of.times[cursor]
  return (
    <div class="legend" aria-label={time ? `Values at ${moment(time * 1000)}` : 'Newest values'} role="group">
      {of.lines.map((line, index) => (
        <button
          type="button"
          key={`${index} ${line.name}`}
          aria-pressed={shown[index] ?? true}
          title={`${seriesName(line.labels)}\nClick: only this one. Ctrl or Shift: more.`}
          onClick={(event) => onChoose(line.name, event.ctrlKey || event.metaKey || event.shiftKey)}
        >
          <span class="swatch" style={{ background: `var(${variables[index]})` }} />
          <span>{line.name}</span>
          <b>{formatted(cursor === null ? summary(line.values).last : line.values[cursor], unit)}</b>
        </button>
      ))}
    </div>
  )
}

function spoken(title: string, of: Columns, unit: Unit): string {
  const parts = of.lines.slice(0, 6).map((line) => {
    const { last, max } = summary(line.values)
    return `${line.name}: ${formatted(last, unit)} now, at most ${formatted(max, unit)}`
  })
  return `${title}. ${parts.join('; ')}`
}

export function exportColumns(title: string, of: Columns): void {
  const rows = of.times.map((time, index) => [new Date(time * 1000).toISOString(), ...of.lines.map((line) => line.values[index])])
  save(`${title.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.csv`, csv(['time', ...of.lines.map((line) => line.name)], rows))
}

export function useWidth(host: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  useEffect(() => {
    if (!host.current) return
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.floor(entry.contentRect.width)))
    observer.observe(host.current)
    return () => observer.disconnect()
  }, [])
  return width
}

/** Whether it is on the screen or nearly so; a hundred charts ask one after the other as they come up. */
export function useSeen(host: { readonly current: HTMLElement | null }): boolean {
  const [seen, setSeen] = useState(false)
  useEffect(() => {
    if (!host.current) return
    const observer = new IntersectionObserver(([entry]) => setSeen(entry?.isIntersecting ?? false), { rootMargin: '200px' })
    observer.observe(host.current)
    return () => observer.disconnect()
  }, [])
  return seen
}
