/** Kept traces: search and list; one of them as a waterfall. */

import { useRef, useState } from 'preact/hooks'
import { unix } from '../api/gateway.ts'
import { get } from '../api/http.ts'
import { labelValues } from '../api/prometheus.ts'
import { clock, milliseconds, moment } from '../compute/format.ts'
import { rangeParameters } from '../compute/time.ts'
import { useWidth } from '../parts/chart.tsx'
import { Badge, Card, Tabs } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { Table } from '../parts/table.tsx'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, go, href, patch, place, range } from '../state/place.ts'
import { Trace } from './trace.tsx'

export interface TraceRow {
  readonly trace_id: string
  readonly root_service: string
  readonly root_name: string
  /** Seconds since 1970. */
  readonly start: number
  readonly duration_ms: number
  readonly spans: number
  readonly errors: number
  readonly services: readonly string[] | string
  readonly kept_as?: string
}

export interface LogEntry {
  readonly time: number
  readonly service: string
  readonly severity: string
  readonly severity_number: number
  readonly body: unknown
  readonly trace_id: string
  readonly span_id: string
  readonly exception_type: string
  readonly attributes: Readonly<Record<string, unknown>>
}

export function Traces() {
  const [first] = place.value.rest
  if (first && first !== 'logs') return <Trace id={first} key={first} />
  const tabs = [
    { name: 'Traces', link: href('traces') },
    { name: 'Error logs', link: href('traces/logs') },
  ]
  return (
    <div class="screen">
      <Tabs tabs={tabs} current={first === 'logs' ? 'Error logs' : 'Traces'} />
      <Search logs={first === 'logs'} />
      {first === 'logs' ? <Logs /> : <Found />}
    </div>
  )
}

const FIELDS = ['service', 'status', 'min_duration', 'q'] as const

/** What is searched for stands in the URL. */
function asked(): Record<string, string> {
  const found: Record<string, string> = {}
  for (const field of FIELDS) {
    const value = place.value.parameters.get(field)
    if (value) found[field] = value
  }
  return found
}

function Search({ logs }: { logs: boolean }) {
  const services = useLoad('service names', (abort) => labelValues('service_name', null, abort), true)
  const [draft, setDraft] = useState(asked())
  const submit = (event: Event): void => {
    event.preventDefault()
    const text = (draft['q'] ?? '').trim()
    if (/^[0-9a-f]{32}$/i.test(text)) return go(`traces/${text.toLowerCase()}`)
    patch(Object.fromEntries(FIELDS.map((field) => [field, draft[field] || null])), true)
  }
  const field = (name: string) => (event: Event) => setDraft({ ...draft, [name]: (event.currentTarget as HTMLInputElement).value })
  return (
    <form class="card grid" onSubmit={submit}>
      <label class="field">
        Service
        <input list="services" value={draft['service'] ?? ''} onInput={field('service')} placeholder="any" />
        <datalist id="services">{services.state === 'ready' && services.data.map((name) => <option key={name} value={name} />)}</datalist>
      </label>
      {!logs && (
        <>
          <label class="field">
            Status
            <select value={draft['status'] ?? ''} onChange={field('status')}>
              <option value="">any</option>
              <option value="error">with errors</option>
              <option value="ok">without</option>
            </select>
          </label>
          <label class="field">
            At least
            <input value={draft['min_duration'] ?? ''} onInput={field('min_duration')} placeholder="250ms" />
          </label>
        </>
      )}
      <label class="field">
        Words, or a trace id
        <input type="search" value={draft['q'] ?? ''} onInput={field('q')} placeholder={logs ? 'timeout' : 'GET /checkout'} />
      </label>
      <span class="row" style={{ alignSelf: 'end' }}>
        <button type="submit" class="primary">
          Search
        </button>
      </span>
    </form>
  )
}

const LIMIT = 500

function Found() {
  const wanted = asked()
  const loaded = useKept(
    useLoad(`traces ${JSON.stringify([wanted, rangeParameters(range.value)])}`, async (abort) => {
      const { start, end } = currentBounds()
      return (await get<{ traces: TraceRow[] }>('api/traces', { ...wanted, start: unix(start), end: unix(end), limit: LIMIT }, abort)).traces
    }),
  )
  return (
    <Shown loaded={loaded} what="traces" lines={6}>
      {(traces) =>
        traces.length ? (
          <>
            <Card title={`${traces.length === LIMIT ? `The newest ${LIMIT}` : traces.length} traces`}>
              <Scatter traces={traces} />
            </Card>
            <Card title="Traces">
              <TraceTable traces={traces} />
            </Card>
          </>
        ) : (
          <Empty title="No trace is kept that fits">
            All traces with errors and slow ones are kept, and a share of the others. A longer range may have some.
          </Empty>
        )
      }
    </Shown>
  )
}

const serviceNames = (trace: TraceRow): string => (typeof trace.services === 'string' ? trace.services : trace.services.join(', '))

function TraceTable({ traces }: { traces: readonly TraceRow[] }) {
  return (
    <Table<TraceRow>
      name="Traces"
      rows={traces}
      id={(trace) => trace.trace_id}
      start={{ key: 'start', down: true }}
      most={100}
      columns={[
        {
          key: 'name',
          label: 'Trace',
          value: (trace) => `${trace.root_service} ${trace.root_name}`,
          cell: (trace) => (
            <a href={href(`traces/${trace.trace_id}`)}>
              <span class="cut">
                {trace.root_service} <span class="muted">{trace.root_name || trace.trace_id.slice(0, 12)}</span>
              </span>
            </a>
          ),
        },
        { key: 'errors', label: 'Errors', value: (trace) => trace.errors, cell: (trace) => (trace.errors ? <Badge tone="bad">{trace.errors}</Badge> : <span class="muted">0</span>), right: true },
        { key: 'duration', label: 'Took', value: (trace) => trace.duration_ms, cell: (trace) => milliseconds(trace.duration_ms), right: true },
        { key: 'spans', label: 'Spans', value: (trace) => trace.spans, right: true, wide: true },
        { key: 'services', label: 'Services', value: serviceNames, cell: (trace) => <span class="muted cut">{serviceNames(trace)}</span>, wide: true },
        { key: 'kept', label: 'Kept as', value: (trace) => trace.kept_as ?? '', cell: (trace) => <Badge>{trace.kept_as ?? ''}</Badge>, wide: true },
        { key: 'start', label: 'Start', value: (trace) => trace.start, cell: (trace) => <span title={moment(trace.start * 1000)}>{clock(trace.start * 1000)}</span>, right: true },
      ]}
    />
  )
}

const HEIGHT = 120

/** When and how long, each a link; the same is in the table for those who cannot see it. */
function Scatter({ traces }: { traces: readonly TraceRow[] }) {
  const host = useRef<HTMLDivElement>(null)
  const width = useWidth(host) || 800
  const { start, end } = currentBounds()
  const most = Math.max(...traces.map((trace) => trace.duration_ms), 1)
  // By the logarithm: one slow trace would press all others to the ground.
  const y = (ms: number): number => HEIGHT - 16 - (Math.log10(1 + ms) / Math.log10(1 + most)) * (HEIGHT - 30)
  const x = (seconds: number): number => 44 + ((seconds * 1000 - start) / (end - start)) * (width - 54)
  const lines = [1, 10, 100, 1000, 10_000, 100_000].filter((ms) => ms <= most)
  return (
    <div ref={host}>
      <svg class="scatter" viewBox={`0 0 ${width} ${HEIGHT}`} aria-hidden="true">
        {lines.map((ms) => (
          <g key={ms}>
            <line x1="44" x2={width - 6} y1={y(ms)} y2={y(ms)} />
            <text x="40" y={y(ms) + 3} text-anchor="end">
              {milliseconds(ms)}
            </text>
          </g>
        ))}
        {traces.map((trace) => (
          <circle key={trace.trace_id} class={trace.errors ? 'bad' : ''} cx={x(trace.start)} cy={y(trace.duration_ms)} r="3.2" onClick={() => go(`traces/${trace.trace_id}`)} style={{ cursor: 'pointer' }}>
            <title>{`${trace.root_service} ${trace.root_name}, ${milliseconds(trace.duration_ms)}`}</title>
          </circle>
        ))}
      </svg>
    </div>
  )
}

function Logs() {
  const { service, q } = asked()
  const loaded = useKept(
    useLoad(`logs ${JSON.stringify([service, q, rangeParameters(range.value)])}`, async (abort) => {
      const { start, end } = currentBounds()
      return (await get<{ logs: LogEntry[] }>('api/logs', { service, q, start: unix(start), end: unix(end), limit: LIMIT }, abort)).logs
    }),
  )
  return (
    <Shown loaded={loaded} what="logs" lines={6}>
      {(logs) => (
        <Card title="Error logs">
          <LogTable logs={logs} />
        </Card>
      )}
    </Shown>
  )
}

export function LogTable({ logs }: { logs: readonly LogEntry[] }) {
  const text = (log: LogEntry): string => (typeof log.body === 'string' ? log.body : JSON.stringify(log.body))
  const columns = [
    { key: 'time', label: 'Time', value: (log: LogEntry) => log.time, cell: (log: LogEntry) => <span title={moment(log.time * 1000)}>{clock(log.time * 1000)}</span> },
    { key: 'severity', label: 'Severity', value: (log: LogEntry) => log.severity_number, cell: (log: LogEntry) => <Badge tone={log.severity_number >= 17 ? 'bad' : 'warn'}>{log.severity}</Badge> },
    { key: 'service', label: 'Service', value: (log: LogEntry) => log.service, wide: true },
    { key: 'body', label: 'Message', value: text, cell: (log: LogEntry) => <span class="cut" title={text(log)}>{text(log)}</span> },
    { key: 'type', label: 'Exception', value: (log: LogEntry) => log.exception_type, wide: true },
    {
      key: 'trace',
      label: 'Trace',
      value: (log: LogEntry) => log.trace_id,
      cell: (log: LogEntry) => (/[1-9a-f]/.test(log.trace_id) ? <a class="mono" href={href(`traces/${log.trace_id}`)}>{log.trace_id.slice(0, 8)}…</a> : '–'),
    },
  ]
  return (
    <Table<LogEntry>
      name="Error logs"
      rows={logs}
      id={(log) => `${log.time} ${log.span_id} ${text(log).slice(0, 60)}`}
      start={{ key: 'time', down: true }}
      columns={columns}
      empty={<Empty title="No error log in this range">Logs of severity ERROR and above are kept; all are counted.</Empty>}
    />
  )
}
