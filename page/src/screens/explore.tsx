/** Ask anything in PromQL: several queries, chart and table, and what metrics there are. */

import { useEffect, useRef, useState } from 'preact/hooks'
import { instant, type Result } from '../api/prometheus.ts'
import { formatted, type Unit, unitOf } from '../compute/format.ts'
import { float, type Labels, seriesName, type VectorSeries } from '../compute/series.ts'
import { durationText, length, rateWindow, stepFor } from '../compute/time.ts'
import { ask, chartKey, exportColumns, Lines, useWidth } from '../parts/chart.tsx'
import { MetricList } from '../parts/metric-list.tsx'
import { QueryField } from '../parts/query-field.tsx'
import { Card, Copy } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { type Column, Table } from '../parts/table.tsx'
import { refresh } from '../state/live.ts'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, patch, place, range } from '../state/place.ts'

const LETTERS = 'ABCDEFGHIJ'
const VIEWS = ['both', 'chart', 'table'] as const
type View = (typeof VIEWS)[number]

export function Explore() {
  const asked = place.value.parameters.getAll('q')
  const view = (place.value.parameters.get('view') ?? 'both') as View
  const [drafts, setDrafts] = useState<readonly string[]>(asked.length ? asked : [''])
  const fromUrl = asked.join('\n')
  const written = useRef(fromUrl)
  useEffect(() => {
    // The back button, or a link from a chart, brings other queries.
    if (fromUrl !== written.current) setDrafts(asked.length ? asked : [''])
    written.current = fromUrl
  }, [fromUrl])
  const run = (texts: readonly string[] = drafts): void => {
    const wanted = texts.map((text) => text.trim()).filter(Boolean)
    written.current = wanted.join('\n')
    if (written.current === fromUrl) refresh()
    else patch({ q: wanted }, true)
  }
  const pick = (expr: string): void => {
    const next = drafts.length === 1 && !drafts[0]?.trim() ? [expr] : [...drafts.slice(0, -1), expr]
    setDrafts(next)
    run(next)
  }
  return (
    <div class="explore">
      <div class="screen">
        <Queries drafts={drafts} onDrafts={setDrafts} onRun={run} view={view} />
        {asked.length > 0 ? (
          <>
            {view !== 'table' && <ChartOf queries={asked} />}
            {view !== 'chart' && asked.map((query, index) => <TableOf key={`${index} ${query}`} query={query} letter={LETTERS[index] ?? ''} />)}
          </>
        ) : (
          <Empty title="Ask something">
            Pick a metric from the list, or write PromQL. <kbd>Ctrl</kbd> <kbd>Enter</kbd> runs it; completion comes as you type. The URL holds all of it.
          </Empty>
        )}
      </div>
      <MetricList onPick={pick} />
    </div>
  )
}

function Queries(properties: {
  drafts: readonly string[]
  onDrafts: (drafts: readonly string[]) => void
  onRun: (drafts?: readonly string[]) => void
  view: View
}) {
  const { drafts, onDrafts, onRun, view } = properties
  const change = (index: number, text: string): void => onDrafts(drafts.map((draft, at) => (at === index ? text : draft)))
  const remove = (index: number): void => {
    const left = drafts.filter((_, at) => at !== index)
    onDrafts(left)
    onRun(left)
  }
  return (
    <section class="card" aria-label="Queries">
      {drafts.map((draft, index) => (
        <div class="query" key={index}>
          <span class="letter">{LETTERS[index]}</span>
          <QueryField text={draft} label={`Query ${LETTERS[index]}`} onChange={(text) => change(index, text)} onRun={() => onRun()} />
          {drafts.length > 1 ? (
            <button type="button" class="quiet" onClick={() => remove(index)} aria-label={`Remove query ${LETTERS[index]}`}>
              ×
            </button>
          ) : (
            <span />
          )}
        </div>
      ))}
      <div class="row between">
        <div class="row">
          <button type="button" class="primary" onClick={() => onRun()}>
            Run
          </button>
          <button type="button" onClick={() => onDrafts([...drafts, ''])} disabled={drafts.length >= LETTERS.length}>
            Add a query
          </button>
          <Copy text={location.href} label="Copy link" />
        </div>
        <span class="segments" role="group" aria-label="Show">
          {VIEWS.map((one) => (
            <button type="button" key={one} aria-pressed={one === view} onClick={() => patch({ view: one === 'both' ? null : one })}>
              {one === 'both' ? 'Both' : one === 'chart' ? 'Chart' : 'Table'}
            </button>
          ))}
        </span>
      </div>
    </section>
  )
}

function ChartOf({ queries }: { queries: readonly string[] }) {
  const host = useRef<HTMLDivElement>(null)
  const width = useWidth(host)
  const [kind, setKind] = useState<'lines' | 'stacked'>('lines')
  const step = stepFor(length(range.value), width || 900)
  const named = queries.map((expr, index) => ({ expr, ...(queries.length > 1 && { name: LETTERS[index] ?? '' }) }))
  const loaded = useKept(useLoad(width ? chartKey(named, step, range.value) : '', (abort) => ask(named, step, abort)))
  const unit = queryUnit(queries[0] ?? '')
  const actions = (
    <>
      <span class="muted">
        every {durationText(step * 1000)}, rates over {rateWindow(step)} or more
      </span>
      <button type="button" class="quiet" aria-pressed={kind === 'stacked'} onClick={() => setKind(kind === 'lines' ? 'stacked' : 'lines')}>
        Stack
      </button>
      <button
        type="button"
        class="quiet"
        disabled={loaded.state !== 'ready'}
        onClick={() => loaded.state === 'ready' && exportColumns('explore', loaded.data.columns)}
      >
        CSV
      </button>
    </>
  )
  return (
    <Card title="Chart" actions={actions} class="chart" busy={loaded.state === 'loading'}>
      <div ref={host} style={{ minHeight: '300px' }}>
        <Shown loaded={loaded} what="chart" lines={3}>
          {(asked) => <Lines title="Chart" asked={asked} width={width} height={300} unit={unit} kind={kind} />}
        </Shown>
      </div>
    </Card>
  )
}

/** A guess by the metric in it; a rate has no unit but its metric's, by the second. */
export function queryUnit(query: string): Unit {
  if (/\/[^"}]*$/.test(query.replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, '')) && /rate|increase|sum/.test(query)) return 'number'
  const metric = /[a-zA-Z_:][a-zA-Z0-9_:]*_(?:total|count|sum|bucket|seconds|milliseconds|bytes|ratio|usd)\b/.exec(query)?.[0] ?? ''
  if (query.includes('histogram_quantile')) return unitOf(metric.replace(/_bucket$/, ''))
  return unitOf(metric)
}

interface Row {
  readonly labels: Labels
  readonly value: number | null
  readonly shown: string
}

function TableOf({ query, letter }: { query: string; letter: string }) {
  const loaded = useKept(useLoad(`instant ${query} ${JSON.stringify(range.value)}`, (abort) => instant(query, currentBounds().end, abort)))
  return (
    <Card title={`Newest values of ${letter}`} busy={loaded.state === 'loading'}>
      <Shown loaded={loaded} what="table">
        {(answer) => <Rows rows={rowsOf(answer.data)} name={`Values of ${letter}`} />}
      </Shown>
    </Card>
  )
}

export function rowsOf(result: Result): readonly Row[] {
  if (result.resultType === 'scalar' || result.resultType === 'string')
    return [{ labels: {}, value: float(result.result[1]), shown: result.result[1] }]
  if (result.resultType === 'matrix')
    return result.result.map(({ metric, values = [] }) => {
      const last = values[values.length - 1]?.[1] ?? 'NaN'
      return { labels: metric, value: float(last), shown: `${values.length} samples, the last ${last}` }
    })
  return (result.result as readonly VectorSeries[]).map(({ metric, value, histogram }) => {
    if (histogram) return { labels: metric, value: float(histogram[1].count), shown: `count ${histogram[1].count}, sum ${histogram[1].sum}` }
    return { labels: metric, value: float(value?.[1] ?? 'NaN'), shown: value?.[1] ?? '' }
  })
}

/** A column for each label, unless there are too many to read. */
const LABELS_MAX = 8

function Rows({ rows, name }: { rows: readonly Row[]; name: string }) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))].filter((key) => key !== '__name__')
  const label = (key: string): Column<Row> => ({
    key: `label ${key}`,
    label: key,
    value: (row) => row.labels[key] ?? '',
    cell: (row) => <span class="cut">{row.labels[key] ?? ''}</span>,
  })
  const series: Column<Row> = {
    key: 'series',
    label: 'Series',
    value: (row) => seriesName(row.labels),
    cell: (row) => <span class="mono">{row.labels['__name__'] ?? (keys.length > LABELS_MAX || !keys.length ? seriesName(row.labels) : '')}</span>,
  }
  const columns: readonly Column<Row>[] = [
    ...(keys.length > LABELS_MAX || rows.some((row) => row.labels['__name__']) || !keys.length ? [series] : []),
    ...(keys.length > LABELS_MAX ? [] : keys.map(label)),
    { key: 'value', label: 'Value', value: (row) => row.value, cell: (row) => <span title={row.shown}>{row.value === null ? row.shown : formatted(row.value, 'number')}</span>, right: true },
  ]
  return (
    <Table
      name={name}
      columns={columns}
      rows={rows}
      id={(row) => seriesName(row.labels)}
      start={{ key: 'value', down: true }}
      most={50}
      empty={<Empty title="No series">Nothing answers this query at the end of the range.</Empty>}
    />
  )
}
