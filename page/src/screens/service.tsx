/** One service: rate, errors and durations by route and status, what fails, traces of it, and the last deploy. */

import { type Deploy, deploys } from '../api/gateway.ts'
import { exemplars as askExemplars, vector } from '../api/prometheus.ts'
import { ago, clock, count, milliseconds, moment, percent, perSecond } from '../compute/format.ts'
import { type Family, familyOf, Requests } from '../compute/promql.ts'
import { float, type Labels } from '../compute/series.ts'
import { durationText, length, rangeParameters } from '../compute/time.ts'
import { verdict, type Window } from '../compute/verdict.ts'
import { Chart } from '../parts/chart.tsx'
import { HeatMap } from '../parts/heat-map.tsx'
import type { Mark } from '../parts/plot.ts'
import { Badge, Card, Tabs } from '../parts/small.tsx'
import { Empty, Loading, Shown } from '../parts/states.tsx'
import { Table } from '../parts/table.tsx'
import { type Loaded, useKept, useLoad } from '../state/load.ts'
import { currentBounds, href, now, patch, place, range } from '../state/place.ts'

export function ServiceScreen() {
  const name = place.value.rest[0] ?? ''
  const known = place.value.parameters.get('source')
  const found = useLoad(known ? '' : `source ${name}`, (abort) => sourceOf(name, abort), true)
  if (!name) return <Empty title="Which service?">The overview has them.</Empty>
  const source = known ?? (found.state === 'ready' ? found.data : null)
  if (source === null && found.state === 'loading') return <Loading what={name} lines={3} />
  return <Known name={name} source={source ?? 'http'} key={`${name} ${source}`} />
}

const SOURCES = ['http', 'http_old', 'spans', 'worker']

/** Where the requests of a service are counted: the first family that has any of it. */
async function sourceOf(name: string, abort: AbortSignal): Promise<string> {
  const at = currentBounds().end
  const window = durationText(Math.max(300_000, length(range.value)))
  const counts = await Promise.all(
    SOURCES.map(async (source) => (await vector(new Requests(familyOf(source), name).rate(window), at, abort)).length),
  )
  return SOURCES[counts.findIndex((found) => found > 0)] ?? 'http'
}

function Known({ name, source }: { name: string; source: string }) {
  const family = familyOf(source)
  const requests = new Requests(family, name)
  const key = JSON.stringify(rangeParameters(range.value))
  const found = useKept(
    useLoad(`deploys ${key}`, (abort) => {
      const { start, end } = currentBounds()
      return deploys(start, end, abort)
    }),
  )
  const mine = found.state === 'ready' ? found.data.filter((deploy) => deploy.service_name === name) : []
  const marks: readonly Mark[] = mine.map((deploy) => ({ time: deploy.time_ms / 1000, text: deploy.version.slice(0, 12) }))
  return (
    <div class="screen">
      <div class="row between">
        <span class="muted">
          Counted from <Badge>{family.name}</Badge>
        </span>
        <span class="row">
          <a class="quiet" href={href('traces', { service: name })}>
            Traces
          </a>
          <a class="quiet" href={href('traces', { service: name, status: 'error' })}>
            Traces of errors
          </a>
          <a class="quiet" href={href('alerts/rules', { new: '1', service: name })}>
            Make an alert
          </a>
        </span>
      </div>
      <Split family={family} requests={requests} marks={marks} />
      <HeatMap requests={requests} who={`${name} ${source}`} toSeconds={family.toSeconds} />
      <div class="columns">
        <Errors name={name} family={family} requests={requests} />
        <Exemplars name={name} family={family} requests={requests} />
      </div>
      <BeforeAfter name={name} requests={requests} deploys={mine} loaded={found} />
    </div>
  )
}

const SPLITS = ['route', 'status', 'all'] as const

function Split({ family, requests, marks }: { family: Family; requests: Requests; marks: readonly Mark[] }) {
  const by = (place.value.parameters.get('by') ?? 'route') as (typeof SPLITS)[number]
  const label = by === 'route' ? family.route : by === 'status' ? family.status : ''
  const labels = label ? [label] : []
  const naming = (one: Labels): string => one[label] || 'none'
  const named = label ? { name: naming } : {}
  const colour = by === 'status' ? statusColour : undefined
  const extra = colour ? { colour } : {}
  return (
    <>
      <Tabs
        current={`By ${by}`}
        tabs={SPLITS.map((one) => ({ name: `By ${one}`, link: href(`service/${encodeURIComponent(place.value.rest[0] ?? '')}`, { source: family.source, by: one }) })).map((tab) => ({ ...tab, name: tab.name }))}
      />
      <div class="columns">
        <Chart title="Requests" unit="per_s" kind="stacked" marks={marks} queries={(window) => [{ expr: requests.rate(window, labels), ...(label ? named : { name: 'all' }) }]} {...extra} />
        <Chart
          title="Failed requests"
          unit={by === 'status' ? 'per_s' : 'ratio'}
          marks={marks}
          empty="No request has failed."
          queries={(window) => [{ expr: by === 'status' ? requests.errors(window, labels) : requests.errorRate(window, labels), ...(label ? named : { name: 'failed' }) }]}
          {...extra}
        />
        <Chart
          title={label ? 'p95' : 'p50, p95 and p99'}
          unit="seconds"
          marks={marks}
          queries={(window) =>
            label
              ? [{ expr: requests.quantile(0.95, window, labels), ...named }]
              : [0.5, 0.95, 0.99].map((q) => ({ expr: requests.quantile(q, window), name: `p${q * 100}` }))
          }
          {...extra}
        />
      </div>
    </>
  )
}

/** What a status means is seen before it is read. */
export function statusColour(status: string): string | undefined {
  if (/^5|ERROR|exception|exceeded/i.test(status)) return '--bad'
  if (/^4|canceled/i.test(status)) return '--warn'
  if (/^3/.test(status)) return '--c1'
  return undefined
}

interface ErrorRow {
  readonly route: string
  readonly status: string
  readonly error: string
  readonly count: number
}

function Errors({ name, family, requests }: { name: string; family: Family; requests: Requests }) {
  const window = durationText(Math.max(150_000, length(range.value)))
  const expr = requests.topErrors(window)
  const loaded = useKept(
    useLoad(`errors ${expr} ${JSON.stringify(rangeParameters(range.value))}`, async (abort) => {
      const found = await vector(expr, currentBounds().end, abort)
      return found.map(({ metric, value }) => ({
        route: metric[family.route] ?? '',
        status: metric[family.status] ?? '',
        error: metric[family.error] ?? '',
        count: float(value?.[1] ?? '0'),
      }))
    }),
  )
  return (
    <Card title="Top errors" actions={<a class="quiet" href={href('explore', { q: [expr], view: 'table' })} aria-label="Query of the top errors">Query</a>}>
      <Shown loaded={loaded} what="top errors">
        {(rows) => (
          <Table<ErrorRow>
            name={`Errors of ${name}`}
            rows={rows}
            id={(row) => `${row.route} ${row.status} ${row.error}`}
            start={{ key: 'count', down: true }}
            empty={<Empty title="No request has failed in this range" />}
            columns={[
              { key: 'route', label: 'Route', value: (row) => row.route, cell: (row) => <span class="cut">{row.route || 'none'}</span> },
              { key: 'status', label: 'Status', value: (row) => row.status, cell: (row) => <Badge tone="bad">{row.status || 'none'}</Badge> },
              { key: 'error', label: 'Error', value: (row) => row.error, cell: (row) => <span class="cut">{row.error}</span>, wide: true },
              { key: 'count', label: 'Times', value: (row) => row.count, cell: (row) => count(row.count), right: true },
            ]}
          />
        )}
      </Shown>
    </Card>
  )
}

interface ExemplarRow {
  readonly trace: string
  readonly time: number
  readonly seconds: number
  readonly route: string
  readonly status: string
}

async function exemplarRows(family: Family, requests: Requests, abort: AbortSignal): Promise<readonly ExemplarRow[]> {
  const { start, end } = currentBounds()
  const found = await askExemplars(requests.exemplars(), start, end, abort)
  return found.flatMap(({ seriesLabels, exemplars }) =>
    exemplars.flatMap(({ labels, value, timestamp }) => {
      const trace = labels['trace_id'] ?? ''
      const row = { trace, time: timestamp * 1000, seconds: float(value) * family.toSeconds, route: seriesLabels[family.route] ?? '', status: seriesLabels[family.status] ?? '' }
      return trace ? [row] : []
    }),
  )
}

function Exemplars({ name, family, requests }: { name: string; family: Family; requests: Requests }) {
  const loaded = useKept(
    useLoad(`exemplars ${name} ${family.source} ${JSON.stringify(rangeParameters(range.value))}`, (abort) => exemplarRows(family, requests, abort)),
  )
  return (
    <Card title="Exemplars" actions={<span class="muted">each opens its trace</span>}>
      <Shown loaded={loaded} what="exemplars">
        {(rows) => (
          <Table<ExemplarRow>
            name={`Exemplars of ${name}`}
            rows={rows}
            id={(row) => `${row.trace} ${row.time} ${row.seconds}`}
            start={{ key: 'seconds', down: true }}
            most={12}
            empty={<Empty title="No exemplars in this range">SDKs attach them to histograms when traces are on.</Empty>}
            columns={[
              { key: 'trace', label: 'Trace', value: (row) => row.trace, cell: (row) => <a class="mono" href={href(`traces/${row.trace}`)}>{row.trace.slice(0, 12)}…</a> },
              { key: 'seconds', label: 'Took', value: (row) => row.seconds, cell: (row) => milliseconds(row.seconds * 1000), right: true },
              { key: 'route', label: 'Route', value: (row) => row.route, cell: (row) => <span class="cut">{row.route}</span> },
              { key: 'status', label: 'Status', value: (row) => row.status, cell: (row) => <Badge tone={statusColour(row.status) === '--bad' ? 'bad' : 'plain'}>{row.status || 'none'}</Badge>, wide: true },
              { key: 'time', label: 'Time', value: (row) => row.time, cell: (row) => <span title={moment(row.time)}>{clock(row.time)}</span>, right: true, wide: true },
            ]}
          />
        )}
      </Shown>
    </Card>
  )
}

interface Compared {
  readonly before: Window
  readonly after: Window
  readonly ms: number
}

/** At most an hour each side, no more than has passed since, and no less than a rate needs. */
async function compared(requests: Requests, deploy: Deploy, abort: AbortSignal): Promise<Compared> {
  const ms = Math.max(150_000, Math.min(3_600_000, now() - deploy.time_ms))
  const [before, after] = await Promise.all([windowAt(requests, deploy.time_ms, ms, abort), windowAt(requests, deploy.time_ms + ms, ms, abort)])
  return { before, after, ms }
}

async function windowAt(requests: Requests, end: number, ms: number, abort: AbortSignal): Promise<Window> {
  const window = durationText(Math.round(ms / 1000) * 1000)
  const ask = async (expr: string): Promise<number | null> => {
    const value = (await vector(expr, end, abort))[0]?.value?.[1]
    return value === undefined || Number.isNaN(float(value)) ? null : float(value)
  }
  const [rate, failed, p95] = await Promise.all([ask(requests.rate(window)), ask(requests.errors(window)), ask(requests.quantile(0.95, window))])
  return { requests: ((rate ?? 0) * ms) / 1000, errors: ((failed ?? 0) * ms) / 1000, p95 }
}

const TONES = { better: 'good', worse: 'bad', same: 'plain', unsure: 'warn' }

function BeforeAfter({ name, requests, deploys: mine, loaded }: { name: string; requests: Requests; deploys: readonly Deploy[]; loaded: Loaded<readonly Deploy[]> }) {
  const last = [...mine].sort((left, right) => right.time_ms - left.time_ms)[0]
  const found = useKept(useLoad(last ? `before ${name} ${last.time_ms}` : '', (abort) => compared(requests, last as Deploy, abort)))
  if (loaded.state === 'absent') return null
  return (
    <Card title="Before and after the last deploy">
      {last ? (
        <Shown loaded={found} what="comparison">
          {(both) => <Comparison deploy={last} both={both} />}
        </Shown>
      ) : (
        <Empty title="No deploy of it in this range">
          A change of service.version is one.{' '}
          <button type="button" class="quiet" onClick={() => patch({ start: '7d', end: null }, true)}>
            Look at 7 days
          </button>
        </Empty>
      )}
    </Card>
  )
}

function Comparison({ deploy, both }: { deploy: Deploy; both: Compared }) {
  const { before, after, ms } = both
  const { word, why } = verdict(before, after)
  const share = (window: Window): number | null => (window.requests > 0 ? window.errors / window.requests : null)
  const rows = [
    { what: 'Requests', before: perSecond((before.requests * 1000) / ms), after: perSecond((after.requests * 1000) / ms) },
    { what: 'Failed', before: percent(share(before)), after: percent(share(after)) },
    { what: 'p95', before: milliseconds(before.p95 === null ? null : before.p95 * 1000), after: milliseconds(after.p95 === null ? null : after.p95 * 1000) },
  ]
  return (
    <>
      <p>
        <Badge tone={TONES[word]}>{word}</Badge> {why}. Version <b>{deploy.version}</b> since {ago(deploy.time_ms, now())}; {durationText(Math.round(ms / 60_000) * 60_000)} on each side.
      </p>
      <Table
        name="Before and after"
        rows={rows}
        id={(row) => row.what}
        columns={[
          { key: 'what', label: 'Measure', value: (row) => row.what },
          { key: 'before', label: 'Before', value: (row) => row.before, right: true },
          { key: 'after', label: 'After', value: (row) => row.after, right: true },
        ]}
      />
    </>
  )
}
