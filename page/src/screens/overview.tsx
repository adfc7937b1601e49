/** The first screen: is anything wrong, where, since when, and what does it cost. */

import { useEffect, useState } from 'preact/hooks'
import type { ComponentType } from 'preact'
import { type ActiveAlert, type Dashboard, dashboard, type Deploy, type Edge, type Probe, type Service } from '../api/gateway.ts'
import { ago, formatted, milliseconds, moment, number, percent, perSecond, usd } from '../compute/format.ts'
import { type Family, familyOf, Requests } from '../compute/promql.ts'
import { rangeParameters } from '../compute/time.ts'
import { Chart, type Query } from '../parts/chart.tsx'
import { Badge, Card, ErrorRate, errorTone, severityTone, Spark, Stat } from '../parts/small.tsx'
import { Empty, Loading, Shown } from '../parts/states.tsx'
import { type Column, Table } from '../parts/table.tsx'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, href, range } from '../state/place.ts'
import { FirstRun } from './first-run.tsx'

export function Overview() {
  const key = `dashboard ${JSON.stringify(rangeParameters(range.value))}`
  const loaded = useKept(
    useLoad(key, (abort) => {
      const { start, end } = currentBounds()
      return dashboard(start, end, abort)
    }),
  )
  return (
    <Shown loaded={loaded} what="overview" lines={3} absent={<a href={href('explore')}>Explore works without it.</a>}>
      {(data) => (data.waiting ? <FirstRun /> : <Found data={data} />)}
    </Shown>
  )
}

function Found({ data }: { data: Dashboard }) {
  const active = data.alerts?.active ?? []
  return (
    <div class="screen">
      <Numbers data={data} />
      {active.length > 0 && (
        <Card title="Active alerts" actions={<a class="quiet" href={href('alerts')}>All alerts</a>}>
          <AlertTable alerts={active} now={data.now_ms} />
        </Card>
      )}
      <Card title="Services" actions={<span class="muted">{data.services.length}</span>}>
        <Table
          name="Services"
          columns={SERVICE_COLUMNS(data.now_ms)}
          rows={data.services}
          id={(one) => `${one.service_name} ${one.source}`}
          start={{ key: 'rate', down: true }}
          empty={
            <Empty title="No service has answered a request in this range">
              Metrics are there: <a href={href('explore')}>look at them in Explore</a>. A service shows up here with HTTP server metrics, spans of
              kind SERVER, or a Worker's traces.
            </Empty>
          }
        />
      </Card>
      <Charts data={data} />
      <div class="columns main-side">
        <Card title="Who calls whom">
          <ServiceMap edges={data.graph?.edges ?? []} services={data.services} />
        </Card>
        <div class="screen">
          <CostCard costs={data.costs} />
          <Card title="Deploys">
            <Deploys deploys={data.deploys} now={data.now_ms} />
          </Card>
          {data.probes && data.probes.length > 0 && (
            <Card title="Probes">
              <Probes probes={data.probes} />
            </Card>
          )}
        </div>
      </div>
    </div>
  )
}

function Numbers({ data }: { data: Dashboard }) {
  const { rate, errors } = totals(data.services)
  const alerts = data.alerts
  const worst = [...data.services].sort((left, right) => (right.p95_ms ?? 0) - (left.p95_ms ?? 0))[0]
  return (
    <div class="stats">
      <Stat label="Requests" value={perSecond(rate)} note={`${data.services.length} services`} />
      <Stat label="Failed" value={percent(errors)} tone={errorTone(errors)} note={errors === null ? '' : `${number(rate * errors)} a second`} />
      <Stat
        label="Slowest p95"
        value={milliseconds(worst?.p95_ms)}
        note={worst?.service_name}
        {...(worst && { link: href(`service/${encodeURIComponent(worst.service_name)}`) })}
      />
      <Stat
        label="Alerts firing"
        value={alerts ? alerts.firing : '–'}
        tone={alerts?.firing ? 'bad' : ''}
        note={alerts ? `${alerts.pending} pending` : 'no rules here'}
        link={href('alerts')}
      />
      <Stat
        label="Cost this month"
        value={usd(data.costs?.so_far)}
        note={data.costs?.projection ? `→ ${usd(data.costs.projection.mid)} by its end` : 'not metered'}
        link={href('costs')}
      />
    </div>
  )
}

/** One query for each family of metrics that services are counted from. */
function Charts({ data }: { data: Dashboard }) {
  const families = [...new Set(data.services.map((service) => service.source))].map(familyOf)
  if (!families.length) return null
  const deployed = (data.deploys ?? []).map((deploy) => ({ time: deploy.time_ms / 1000, text: `${deploy.service_name} ${deploy.version}`.slice(0, 28) }))
  const known = new Set(data.services.map((service) => `${service.source} ${service.service_name}`))
  const of = (family: Family, make: (requests: Requests) => string): Query => ({
    expr: make(new Requests(family)),
    name: (labels) => labels[family.service] || 'unknown',
    keep: (labels) => known.has(`${family.source} ${labels[family.service] || 'unknown'}`),
  })
  return (
    <div class="columns">
      <Chart title="Requests by service" unit="per_s" kind="stacked" marks={deployed} queries={(window) => families.map((family) => of(family, (requests) => requests.rate(window, [family.service])))} />
      <Chart title="Failed by service" unit="ratio" marks={deployed} queries={(window) => families.map((family) => of(family, (requests) => requests.errorRate(window, [family.service])))} />
    </div>
  )
}

/** Rates add up; a share of failed requests is weighed by the requests. */
export function totals(services: readonly Service[]): { rate: number; errors: number | null } {
  let rate = 0
  let failed = 0
  for (const service of services) {
    rate += service.rate_per_s ?? 0
    failed += (service.rate_per_s ?? 0) * (service.error_rate ?? 0)
  }
  return { rate, errors: rate > 0 ? failed / rate : null }
}

const SOURCES: Record<string, string> = { http: 'metrics', http_old: 'metrics', spans: 'spans', worker: 'Worker' }

const SERVICE_COLUMNS = (now: number): readonly Column<Service>[] => [
  {
    key: 'name',
    label: 'Service',
    value: (one) => one.service_name,
    cell: (one) => (
      <>
        <a href={href(`service/${encodeURIComponent(one.service_name)}`, { source: one.source })}>{one.service_name}</a>{' '}
        <span class="wide">
          <Badge>{SOURCES[one.source] ?? one.source}</Badge>
        </span>
      </>
    ),
  },
  {
    key: 'spark',
    label: 'Requests',
    value: () => null,
    wide: true,
    cell: (one) => (
      <Spark values={one.sparkline.rate_per_s ?? []} errors={one.sparkline.error_rate ?? []} label={`Requests of ${one.service_name} over time`} />
    ),
  },
  { key: 'rate', label: 'Rate', value: (one) => one.rate_per_s, cell: (one) => perSecond(one.rate_per_s), right: true },
  {
    key: 'errors',
    label: 'Failed',
    value: (one) => one.error_rate,
    right: true,
    help: 'With the interval that it is in with 95 % certainty, where it is estimated from sampled spans',
    cell: (one) => <ErrorRate rate={one.error_rate} low={one.error_rate_low} high={one.error_rate_high} />,
  },
  { key: 'p50', label: 'p50', value: (one) => one.p50_ms, cell: (one) => milliseconds(one.p50_ms), right: true, wide: true },
  { key: 'p95', label: 'p95', value: (one) => one.p95_ms, cell: (one) => milliseconds(one.p95_ms), right: true },
  { key: 'p99', label: 'p99', value: (one) => one.p99_ms, cell: (one) => milliseconds(one.p99_ms), right: true, wide: true },
  { key: 'saturation', label: 'Load', value: (one) => one.saturation, cell: (one) => <Saturation value={one.saturation} />, right: true, wide: true, help: 'Share of the CPU in use' },
  { key: 'version', label: 'Version', value: (one) => one.version, wide: true },
  {
    key: 'seen',
    label: 'Seen',
    value: (one) => one.last_seen_ms,
    right: true,
    wide: true,
    cell: (one) => <span class={now - (one.last_seen_ms ?? now) > 300_000 ? 'bad' : 'muted'}>{ago(one.last_seen_ms, now)}</span>,
  },
]

function Saturation({ value }: { value: number | null }) {
  if (value === null) return <span class="muted">–</span>
  const tone = value > 0.9 ? 'bad' : value > 0.7 ? 'warn' : ''
  return (
    <>
      {percent(value)}
      <span class={`bar ${tone}`} aria-hidden="true">
        <i style={{ width: `${Math.min(100, value * 100)}%` }} />
      </span>
    </>
  )
}

const alertId = (one: ActiveAlert): string => `${one.id ?? ''} ${one.name} ${JSON.stringify(one.labels ?? {})}`

export function AlertTable({ alerts, now }: { alerts: readonly ActiveAlert[]; now: number }) {
  const columns: readonly Column<ActiveAlert>[] = [
    { key: 'state', label: 'State', value: (one) => one.state, cell: (one) => <Badge tone={one.state === 'firing' ? 'bad' : 'warn'}>{one.state}</Badge> },
    { key: 'name', label: 'Alert', value: (one) => one.name, cell: (one) => (
        <>
          <a href={href('alerts')}>{one.name}</a>
          <small class="narrow">{labelText(one.labels)}</small>
        </>
      ) },
    { key: 'severity', label: 'Severity', value: (one) => one.severity ?? '', cell: (one) => <Badge tone={severityTone(one.severity)}>{one.severity ?? 'none'}</Badge>, wide: true },
    { key: 'value', label: 'Value', value: (one) => Number(one.value ?? Number.NaN), cell: (one) => formatted(Number(one.value ?? Number.NaN), 'number'), right: true },
    { key: 'since', label: 'Since', value: (one) => one.since_ms ?? null, cell: (one) => <span title={moment(one.since_ms)}>{ago(one.since_ms, now)}</span> },
    { key: 'labels', label: 'Of', value: (one) => labelText(one.labels), cell: (one) => <span class="muted cut">{labelText(one.labels)}</span>, wide: true },
  ]
  return <Table name="Active alerts" columns={columns} rows={alerts} id={alertId} start={{ key: 'since', down: true }} most={20} />
}

function labelText(labels: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(labels ?? {})
    .filter(([key]) => key !== 'alertname' && key !== 'severity')
    .map(([key, value]) => `${key}=${value}`)
    .join(' ')
}

function CostCard({ costs }: { costs: Dashboard['costs'] }) {
  return (
    <Card title="Costs" actions={<a class="quiet" href={href('costs')}>All costs</a>}>
      {costs ? (
        <dl class="pairs">
          <dt>Today</dt>
          <dd>{usd(costs.today)}</dd>
          <dt>This month so far</dt>
          <dd>{usd(costs.so_far)}</dd>
          <dt>By the end of it</dt>
          <dd>
            {usd(costs.projection?.mid)}{' '}
            <span class="muted">
              {usd(costs.projection?.low)} – {usd(costs.projection?.high)}
            </span>
          </dd>
        </dl>
      ) : (
        <Empty title="Not metered">Costs need a plan in the settings, or a Cloudflare token.</Empty>
      )}
    </Card>
  )
}

function Deploys({ deploys, now }: { deploys: readonly Deploy[] | null | undefined; now: number }) {
  if (!deploys?.length) return <Empty title="No deploy in this range">A change of service.version is one.</Empty>
  return (
    <Table
      name="Deploys"
      rows={deploys}
      id={(one) => `${one.service_name} ${one.time_ms} ${one.version}`}
      start={{ key: 'time', down: true }}
      most={6}
      columns={[
        { key: 'service', label: 'Service', value: (one) => one.service_name, cell: (one) => <a href={href(`service/${encodeURIComponent(one.service_name)}`)}>{one.service_name}</a> },
        { key: 'version', label: 'Version', value: (one) => one.version, cell: (one) => <span class="cut">{one.version}</span> },
        { key: 'time', label: 'When', value: (one) => one.time_ms, cell: (one) => <span title={moment(one.time_ms)}>{ago(one.time_ms, now)}</span>, right: true },
      ]}
    />
  )
}

function Probes({ probes }: { probes: readonly Probe[] }) {
  return (
    <Table
      name="Probes"
      rows={probes}
      id={(one) => one.name ?? one.target ?? ''}
      columns={[
        { key: 'name', label: 'Probe', value: (one) => one.name ?? one.target ?? '', cell: (one) => <span class="cut">{one.name ?? one.target}</span> },
        {
          key: 'up',
          label: 'State',
          value: (one) => Number(one.up ?? one.success ?? 0),
          cell: (one) => ((one.up ?? one.success) ? <Badge tone="good">up</Badge> : <Badge tone="bad">down</Badge>),
        },
        { key: 'time', label: 'Time', value: (one) => one.duration_ms ?? null, cell: (one) => milliseconds(one.duration_ms), right: true },
      ]}
    />
  )
}

/** The map with its layout library comes after what is more urgent. */
function ServiceMap({ edges, services }: { edges: readonly Edge[]; services: readonly Service[] }) {
  const [Part, setPart] = useState<ComponentType<{ edges: readonly Edge[]; services: readonly Service[] }> | null>(null)
  const any = edges.length > 0
  useEffect(() => {
    if (any) void import('../parts/map.tsx').then((part) => setPart(() => part.ServiceGraph))
  }, [any])
  if (!any) return <Empty title="No calls between services seen">The map is drawn from spans: send traces of more than one service.</Empty>
  return Part ? <Part edges={edges} services={services} /> : <Loading what="service map" />
}
