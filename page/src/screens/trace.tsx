/** One trace as a waterfall, each span with what it knows. */

import { useMemo, useState } from 'preact/hooks'
import { address, get } from '../api/http.ts'
import { milliseconds, moment } from '../compute/format.ts'
import { ownTime, type RowOf, rows, type Span, valueText } from '../compute/waterfall.ts'
import { Badge, Card, Copy, Stat } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { useLoad } from '../state/load.ts'
import { href } from '../state/place.ts'
import { type LogEntry, LogTable, type TraceRow } from './traces.tsx'

interface Whole extends Omit<TraceRow, 'spans'> {
  readonly span_count?: number
  readonly spans: readonly Span[]
  readonly resources?: readonly Readonly<Record<string, unknown>>[]
  readonly logs?: readonly LogEntry[]
}

export function Trace({ id }: { id: string }) {
  const loaded = useLoad(`trace ${id}`, (abort) => get<Whole>(`api/traces/${encodeURIComponent(id)}`, {}, abort), true)
  if (loaded.state === 'absent')
    return (
      <Empty title="This trace is not kept">
        <code>{id}</code> was sampled out, is older than what is kept, or its spans went elsewhere. <a href={href('traces')}>Search the others</a>
      </Empty>
    )
  return (
    <Shown loaded={loaded} what="trace" lines={6}>
      {(trace) => <Known trace={trace} />}
    </Shown>
  )
}

function Known({ trace }: { trace: Whole }) {
  const services = [...new Set(trace.spans.map((span) => span.service))]
  const id = trace.trace_id
  return (
    <div class="screen">
      <div class="row between">
        <h2>
          {trace.root_service} <span class="muted">{trace.root_name}</span>
        </h2>
        <span class="row">
          <code>{id}</code>
          <Copy text={id} label="Copy id" />
          <a class="quiet" href={address(`api/traces/${id}`, { format: 'otlp' })} download={`${id}.json`}>
            OTLP/JSON
          </a>
        </span>
      </div>
      <div class="stats">
        <Stat label="Took" value={milliseconds(trace.duration_ms)} note={moment(trace.start * 1000)} />
        <Stat label="Spans" value={trace.spans.length} note={`${services.length} services`} />
        <Stat label="Errors" value={trace.errors} tone={trace.errors ? 'bad' : ''} note={trace.kept_as ? `kept as ${trace.kept_as}` : ''} />
      </div>
      <Card title="Waterfall" actions={<Legend services={services} />}>
        <Waterfall trace={trace} services={services} />
      </Card>
      {trace.logs && trace.logs.length > 0 && (
        <Card title="Its logs">
          <LogTable logs={trace.logs} />
        </Card>
      )}
    </div>
  )
}

const colour = (services: readonly string[], service: string): string => `var(--c${services.indexOf(service) % 8})`

function Legend({ services }: { services: readonly string[] }) {
  return (
    <span class="row">
      {services.map((service) => (
        <a class="quiet" key={service} href={href(`service/${encodeURIComponent(service)}`)}>
          <span class="dot" style={{ background: colour(services, service) }} />
          {service}
        </a>
      ))}
    </span>
  )
}

/** Rows drawn at once; a trace of ten thousand spans is read by its beginning. */
const ROWS_MAX = 500

function Waterfall({ trace, services }: { trace: Whole; services: readonly string[] }) {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set())
  const [open, setOpen] = useState<string | null>(null)
  const shown = useMemo(() => rows(trace.spans, closed), [trace, closed])
  const fold = (id: string): void => {
    const next = new Set(closed)
    if (!next.delete(id)) next.add(id)
    setClosed(next)
  }
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Spans of the trace">
      <div class="waterfall">
        {shown.slice(0, ROWS_MAX).map((row) => (
          <div key={row.span.span_id}>
            <SpanRow row={row} services={services} open={open === row.span.span_id} folded={closed.has(row.span.span_id)} onOpen={() => setOpen(open === row.span.span_id ? null : row.span.span_id)} />
            {open === row.span.span_id && <Details row={row} trace={trace} folded={closed.has(row.span.span_id)} onFold={() => fold(row.span.span_id)} />}
          </div>
        ))}
        {shown.length > ROWS_MAX && <p class="muted">and {shown.length - ROWS_MAX} more: fold what you have read, or take the OTLP/JSON</p>}
      </div>
    </div>
  )
}

function SpanRow({ row, services, open, folded, onOpen }: { row: RowOf; services: readonly string[]; open: boolean; folded: boolean; onOpen: () => void }) {
  const { span, depth, children, left, width } = row
  // The text stands where there is room for it.
  const right = left + width > 0.8
  return (
    <button type="button" class={`span ${span.error ? 'bad' : ''}`} aria-expanded={open} onClick={onOpen}>
      <span class="what" style={{ paddingLeft: `${depth * 14}px` }}>
        <span class="caret" aria-hidden="true">
          {folded ? `+${children}` : children ? '▾' : ''}
        </span>
        <span class="dot" style={{ background: colour(services, span.service) }} />
        {span.name} <span class="muted">{span.service}</span> {span.error && <Badge tone="bad">error</Badge>}
      </span>
      <span class="track" style={{ '--tone': colour(services, span.service) }}>
        <i style={{ left: `${left * 100}%`, width: `${width * 100}%` }} />
        <small style={right ? { right: `${(1 - left) * 100}%` } : { left: `${(left + width) * 100}%` }}>{milliseconds(span.duration_ms)}</small>
      </span>
    </button>
  )
}

function Details({ row, trace, folded, onFold }: { row: RowOf; trace: Whole; folded: boolean; onFold: () => void }) {
  const { span } = row
  return (
    <div class="details">
      <div class="row between">
        <span>
          <Badge>{span.kind.toLowerCase() || 'internal'}</Badge> by itself {milliseconds(ownTime(span, trace.spans))} of {milliseconds(span.duration_ms)}, begun after {milliseconds(span.offset_ms)}
        </span>
        {row.children > 0 && (
          <button type="button" class="quiet" onClick={onFold}>
            {folded ? 'Unfold' : 'Fold'} its {row.children} children
          </button>
        )}
      </div>
      {span.status?.message && <p class="notice bad">{span.status.message}</p>}
      <Pairs title="Attributes" pairs={span.attributes} />
      {span.events?.map((event, index) => (
        <Pairs key={index} title={`Event ${event.name} after ${milliseconds(event.offset_ms)}`} pairs={event.attributes} />
      ))}
      {span.links?.map((link) => (
        <a key={link.span_id} href={href(`traces/${link.trace_id}`)}>
          Linked trace {link.trace_id.slice(0, 12)}…
        </a>
      ))}
      <Pairs title="Resource" pairs={trace.resources?.[span.resource ?? -1] ?? {}} />
      <small>
        Span {span.span_id} {span.scope && `by ${span.scope}`}
      </small>
    </div>
  )
}

function Pairs({ title, pairs }: { title: string; pairs: Readonly<Record<string, unknown>> }) {
  const entries = Object.entries(pairs)
  if (!entries.length) return null
  return (
    <div>
      <h3>{title}</h3>
      <dl class="pairs">
        {entries.map(([key, value]) => (
          <>
            <dt>{key}</dt>
            <dd class="mono">{valueText(value)}</dd>
          </>
        ))}
      </dl>
    </div>
  )
}
