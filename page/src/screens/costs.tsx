/** Costs: so far, where it goes, by the end, and what would change it. */

import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { address, ApiError, get, send } from '../api/http.ts'
import { ago, bytes, count, moment, number, percent, usd } from '../compute/format.ts'
import { Badge, Card, Stat, Tabs } from '../parts/small.tsx'
import { Empty, Partial, Shown } from '../parts/states.tsx'
import { type Column, Table } from '../parts/table.tsx'
import { refresh } from '../state/live.ts'
import { useKept, useLoad } from '../state/load.ts'
import { href, now, patch, place } from '../state/place.ts'

interface Meter {
  readonly meter: string
  readonly quantity: number
  readonly billable: number
  readonly usd: number
  readonly usd_list: number
  readonly unit?: string
  /** A decimal as text, where there is an amount. */
  readonly included?: string | number | null
  readonly sources?: readonly string[]
}

interface Product {
  readonly product: string
  readonly usd: number
  readonly usd_list: number
  readonly meters: readonly Meter[]
}

interface Part {
  readonly usd: number
  readonly usd_list: number
  readonly script?: string
  readonly metric?: string
  readonly label?: string
}

interface PriceTag {
  readonly metric: string
  readonly type: string
  readonly series: number
  readonly points_month: number
  readonly usd_month_list: number
  readonly last_use: string | null
  readonly labels: readonly { readonly label: string; readonly values: number; readonly saves_usd_month_list: number }[]
}

interface Standing {
  readonly product: string
  readonly usd: number
  readonly spent: number
  readonly used: number
  readonly hours_left: number | null
  readonly stage: string | null
  readonly text: string
}

interface Headroom {
  readonly limit: string
  readonly product: string
  readonly of: string | null
  readonly value: number
  readonly unit: string
  readonly used: number | null
  readonly ratio: number | null
  readonly full_at: string | null
  readonly text: string
}

interface Costs {
  readonly as_of: string
  readonly plan: string
  readonly period: { readonly month: string; readonly start: string; readonly end: string; readonly complete: boolean }
  readonly so_far: number
  readonly so_far_list?: number
  readonly today: number
  readonly projection: { readonly low: number; readonly mid: number; readonly high: number; readonly rate?: number; readonly basis?: string; readonly days_measured?: number }
  readonly monitoring?: { readonly text: string }
  readonly breakdown: { readonly product: readonly Product[]; readonly script?: readonly Part[]; readonly metric?: readonly Part[]; readonly label?: readonly Part[] }
  readonly sources?: readonly { readonly source: string; readonly what: string; readonly status: string }[]
  readonly missing?: readonly { readonly what: string; readonly effect: string }[]
  readonly headroom?: readonly Headroom[]
  readonly budgets?: readonly Standing[]
  readonly runaway?: readonly { readonly product: string; readonly usd_hour: number; readonly usual_usd_hour: number; readonly ratio: number | null; readonly runs_away: boolean }[]
  readonly metrics?: readonly PriceTag[]
  readonly unused?: readonly PriceTag[]
}

const PARTS: Record<string, [string, (properties: { costs: Costs }) => JSX.Element]> = {
  '': ['This month', Month],
  metrics: ['Metrics', Metrics],
  'what-if': ['What if', WhatIf],
  budgets: ['Budgets', Budgets],
  limits: ['Limits', Limits],
  reports: ['Reports', Reports],
}

export function Costs() {
  const part = place.value.rest[0] ?? ''
  const [title, Part] = PARTS[part] ?? ['This month', Month]
  const month = place.value.parameters.get('month') ?? ''
  const loaded = useKept(useLoad(`costs ${month}`, (abort) => get<Costs>('api/costs', { breakdown: true, month }, abort)))
  return (
    <div class="screen">
      <Tabs current={title} tabs={Object.entries(PARTS).map(([path, [name]]) => ({ name, link: href(path ? `costs/${path}` : 'costs', { month: month || null }) }))} />
      <Shown loaded={loaded} what="costs" lines={6} absent="This gateway meters no costs.">
        {(costs) => <Part costs={costs} key={part} />}
      </Shown>
    </div>
  )
}

function Month({ costs }: { costs: Costs }) {
  const { projection, period } = costs
  const running = costs.runaway?.filter((one) => one.runs_away) ?? []
  return (
    <>
      {running.map((one) => (
        <p class="notice bad" role="alert" key={one.product}>
          {one.product} runs away: {usd(one.usd_hour)} an hour, usually {usd(one.usual_usd_hour)}.
        </p>
      ))}
      <div class="stats">
        <Stat label="Today" value={usd(costs.today)} />
        <Stat label={`So far in ${period.month}`} value={usd(costs.so_far)} note={costs.so_far_list !== undefined && costs.so_far_list !== costs.so_far ? `${usd(costs.so_far_list)} by list price` : `plan ${costs.plan}`} />
        <Stat label="By the end" value={usd(projection.mid)} note={`${usd(projection.low)} – ${usd(projection.high)}`} />
        <Stat label="As of" value={ago(Date.parse(costs.as_of), now())} note={moment(Date.parse(costs.as_of))} />
      </div>
      <Partial notes={(costs.missing ?? []).map((one) => `${one.what}: ${one.effect}`)} />
      <Card title="Projection" actions={<MonthPicker month={period.month} />}>
        <Band costs={costs} />
        <p class="muted">
          {projection.basis && `${projection.basis}.`}
          {projection.rate !== undefined && ` The range holds the truth in ${percent(projection.rate)} of months.`} {costs.monitoring?.text}
        </p>
      </Card>
      <div class="columns main-side">
        <Card title="By product">
          <Products products={costs.breakdown.product} />
        </Card>
        <div class="screen">
        <Card title="By service or script">
          <Parts rows={costs.breakdown.script ?? []} name="Costs by script" of="script" label="Script" />
        </Card>
        <Card title="By label">
          <Parts rows={costs.breakdown.label ?? []} name="Costs by label" of="label" label="Label" />
        </Card>
        <Card title="Where the numbers come from">
          <Sources sources={costs.sources ?? []} />
        </Card>
        </div>
      </div>
    </>
  )
}

function MonthPicker({ month }: { month: string }) {
  return <input type="month" aria-label="Month" value={month} max={new Date().toISOString().slice(0, 7)} onChange={(event) => patch({ month: event.currentTarget.value || null })} />
}

/** So far in full, what it may become as a band, the middle as a line. */
function Band({ costs }: { costs: Costs }) {
  const { low, mid, high } = costs.projection
  const most = Math.max(high, costs.so_far, 0.01) * 1.05
  const share = (value: number): string => `${(value / most) * 100}%`
  return (
    <div class="band" role="img" aria-label={`${usd(costs.so_far)} so far, between ${usd(low)} and ${usd(high)} by the end, most likely ${usd(mid)}`}>
      <span class="reach" style={{ left: share(low), width: share(Math.max(0, high - low)) }} />
      <span class="now" style={{ width: share(costs.so_far) }} />
      <span class="mid" style={{ left: share(mid) }} />
    </div>
  )
}

interface Line extends Meter {
  readonly product: string
}

const included = (line: Line): number | null => (line.included === null || line.included === undefined ? null : Number(line.included))

const LINES: readonly Column<Line>[] = [
  { key: 'product', label: 'Product', value: (line) => line.product },
  { key: 'meter', label: 'What', value: (line) => line.meter, cell: (line) => <span class="muted">{line.meter.replaceAll('_', ' ')}</span> },
  { key: 'quantity', label: 'Used', value: (line) => line.quantity, cell: (line) => <span title={`${line.quantity} ${line.unit ?? ''}`}>{number(line.quantity)}</span>, right: true },
  { key: 'included', label: 'Included', value: (line) => included(line), cell: (line) => number(included(line)), right: true, wide: true },
  { key: 'usd', label: 'USD', value: (line) => line.usd, cell: (line) => usd(line.usd), right: true },
  { key: 'list', label: 'By list', value: (line) => line.usd_list, cell: (line) => <span class="muted">{usd(line.usd_list)}</span>, right: true, wide: true },
]

function Products({ products }: { products: readonly Product[] }) {
  const lines = products.flatMap((product) =>
    product.meters.length
      ? product.meters.map((meter) => ({ ...meter, product: product.product }))
      : [{ product: product.product, meter: '', quantity: 0, billable: 0, usd: product.usd, usd_list: product.usd_list }],
  )
  return <Table<Line> name="Costs by product" columns={LINES} rows={lines} id={(line) => `${line.product} ${line.meter}`} start={{ key: 'usd', down: true }} most={30} />
}

function Parts({ rows, name, of, label }: { rows: readonly Part[]; name: string; of: 'script' | 'metric' | 'label'; label: string }) {
  return (
    <Table<Part>
      name={name}
      rows={rows}
      id={(row) => row[of] ?? ''}
      start={{ key: 'usd', down: true }}
      most={15}
      empty={<Empty title="Nothing to divide yet" />}
      columns={[
        { key: 'of', label, value: (row) => row[of] ?? '', cell: (row) => <span class="cut">{row[of]}</span> },
        { key: 'usd', label: 'USD', value: (row) => row.usd, cell: (row) => usd(row.usd), right: true },
        { key: 'list', label: 'By list', value: (row) => row.usd_list, cell: (row) => <span class="muted">{usd(row.usd_list)}</span>, right: true },
      ]}
    />
  )
}

function Sources({ sources }: { sources: NonNullable<Costs['sources']> }) {
  return (
    <Table
      name="Sources"
      rows={sources}
      id={(one) => one.source}
      columns={[
        { key: 'source', label: 'Source', value: (one) => one.source },
        { key: 'status', label: 'State', value: (one) => one.status, cell: (one) => <Badge tone={one.status === 'ok' ? 'good' : one.status === 'failing' ? 'bad' : 'plain'}>{one.status}</Badge> },
        { key: 'what', label: 'What it is', value: (one) => one.what, cell: (one) => <span class="muted cut">{one.what}</span>, wide: true },
      ]}
    />
  )
}

function Metrics({ costs }: { costs: Costs }) {
  const unused = new Set((costs.unused ?? []).map((tag) => tag.metric))
  const best = (tag: PriceTag) => tag.labels[0]
  return (
    <Card title="What each metric costs a month" actions={<span class="muted">{unused.size} asked for by nothing in 30 days</span>}>
      <Table<PriceTag>
        name="Price of metrics"
        rows={costs.metrics ?? []}
        id={(tag) => tag.metric}
        start={{ key: 'usd', down: true }}
        most={100}
        empty={<Empty title="No metric has come yet" />}
        columns={[
          { key: 'metric', label: 'Metric', value: (tag) => tag.metric, cell: (tag) => <a class="mono cut" href={href('explore', { q: [tag.metric] })}>{tag.metric}</a> },
          { key: 'use', label: 'Use', value: (tag) => (unused.has(tag.metric) ? 'unused' : 'used'), cell: (tag) => (unused.has(tag.metric) ? <Badge tone="warn">unused</Badge> : <span class="muted">{tag.last_use ? ago(Date.parse(tag.last_use), now()) : ''}</span>) },
          { key: 'series', label: 'Series', value: (tag) => tag.series, cell: (tag) => count(tag.series), right: true, wide: true },
          { key: 'points', label: 'Points a month', value: (tag) => tag.points_month, cell: (tag) => number(tag.points_month), right: true, wide: true },
          { key: 'usd', label: 'USD by list', value: (tag) => tag.usd_month_list, cell: (tag) => usd(tag.usd_month_list), right: true },
          {
            key: 'saves',
            label: 'Dearest label',
            value: (tag) => best(tag)?.saves_usd_month_list ?? null,
            cell: (tag) => {
              const label = best(tag)
              return label ? <a href={href('costs/what-if', { drop: label.label, metric: tag.metric })}>without {label.label}: −{usd(label.saves_usd_month_list)}</a> : '–'
            },
            right: true,
            wide: true,
          },
        ]}
      />
    </Card>
  )
}

type Amounts = Readonly<Record<string, number>>

interface Outcome {
  readonly before: Amounts
  readonly after: Amounts
  readonly saves_usd_month: number
  readonly saves_part: number | null
  readonly metrics: readonly Readonly<Record<string, string | number>>[]
  readonly basis: string
}

function WhatIf({ costs }: { costs: Costs }) {
  const [rate, setRate] = useState(10)
  const [interval, setInterval] = useState(0)
  const [drop, setDrop] = useState(place.value.parameters.get('drop') ?? '')
  const metric = place.value.parameters.get('metric')
  const labels = [...new Set((costs.metrics ?? []).flatMap((tag) => tag.labels.map((one) => one.label)))].sort()
  const change = {
    ...(rate !== 10 && { success_rate: rate / 100 }),
    ...(interval > 0 && { interval: `${interval}s` }),
    ...(drop && { drop_label: drop }),
    ...(drop && metric && { metric }),
  }
  const key = Object.keys(change).length ? `what-if ${JSON.stringify(change)}` : ''
  const loaded = useKept(useLoad(key, () => send<Outcome>('POST', 'api/costs/what-if', change), true))
  return (
    <>
      <Card title="What if">
        <form class="grid">
          <label class="field">
            Successes kept: {rate} %
            <input type="range" min="1" max="100" value={rate} onInput={(event) => setRate(Number(event.currentTarget.value))} />
          </label>
          <label class="field">
            One sample every: {interval ? `${interval} s` : 'as it is'}
            <input type="range" min="0" max="300" step="15" value={interval} onInput={(event) => setInterval(Number(event.currentTarget.value))} />
          </label>
          <label class="field">
            Without the label{metric ? ` (of ${metric})` : ''}
            <select value={drop} onChange={(event) => setDrop(event.currentTarget.value)}>
              <option value="">none</option>
              {[...new Set([...labels, ...(drop ? [drop] : [])])].map((label) => (
                <option key={label}>{label}</option>
              ))}
            </select>
          </label>
        </form>
      </Card>
      <Card title="Then, simulated on the last hour's data">
        {key ? (
          <Shown loaded={loaded} what="simulation">
            {(outcome) => <Simulated outcome={outcome} />}
          </Shown>
        ) : (
          <Empty title="Move a slider">Nothing is changed but these numbers.</Empty>
        )}
      </Card>
    </>
  )
}

function Simulated({ outcome }: { outcome: Outcome }) {
  const { before, after, metrics } = outcome
  const saves = outcome.saves_usd_month
  return (
    <>
      <p role="status">
        {saves >= 0 ? 'Saves' : 'Costs'} <b>{usd(Math.abs(saves))}</b> a month by list price
        {outcome.saves_part ? `, ${percent(Math.abs(outcome.saves_part))}` : ''}. <span class="muted">By {outcome.basis}.</span>
      </p>
      <Table<string>
        name="Before and after"
        rows={Object.keys(before)}
        id={(key) => key}
        columns={[
          { key: 'what', label: 'What', value: (key) => words(key) },
          { key: 'before', label: 'Now', value: (key) => before[key], cell: (key) => amount(key, before[key]), right: true },
          { key: 'after', label: 'Then', value: (key) => after[key], cell: (key) => amount(key, after[key]), right: true },
        ]}
      />
      {metrics.length > 0 && (
        <Table<Readonly<Record<string, string | number>>>
          name="Metrics that become cheaper"
          rows={metrics}
          id={(row) => JSON.stringify(row)}
          most={20}
          columns={Object.keys(metrics[0] ?? {}).map((key) => ({
            key,
            label: words(key),
            value: (row) => row[key],
            cell: (row) => amount(key, row[key]),
            right: typeof metrics[0]?.[key] === 'number',
          }))}
        />
      )}
    </>
  )
}

const words = (key: string): string => key.replace('usd_month', 'USD a month').replace(/_month$/, ' a month').replaceAll('_', ' ')

function amount(key: string, value: string | number | undefined): string {
  if (typeof value !== 'number') return value ?? '–'
  return key.includes('usd') ? usd(value) : number(value)
}

function Budgets({ costs }: { costs: Costs }) {
  const [product, setProduct] = useState('all')
  const [amount, setAmount] = useState('')
  const [wrong, setWrong] = useState('')
  const put = async (of: string, value: number | null): Promise<void> => {
    try {
      await send('PUT', 'api/costs/budgets', { budgets: { [of]: value } })
      setWrong('')
      refresh()
    } catch (error) {
      setWrong(error instanceof ApiError ? error.message : String(error))
    }
  }
  const products = ['all', ...costs.breakdown.product.map((one) => one.product)]
  return (
    <Card title="Budgets" actions={<a class="quiet" href={href('alerts/rules', { new: '1' })}>Alert on one</a>}>
      <form
        class="row"
        onSubmit={(event) => {
          event.preventDefault()
          void put(product, Number(amount))
        }}
      >
        <select aria-label="Product" value={product} onChange={(event) => setProduct(event.currentTarget.value)}>
          {products.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
        <input aria-label="USD a month" type="number" min="0.01" step="any" required placeholder="USD a month" value={amount} onInput={(event) => setAmount(event.currentTarget.value)} />
        <button type="submit">Set</button>
        {wrong && (
          <span class="bad-text" role="alert">
            {wrong}
          </span>
        )}
      </form>
      <Table<Standing>
        name="Budgets"
        rows={costs.budgets ?? []}
        id={(one) => one.product}
        empty={<Empty title="No budget yet">With one, the page and the alerts say when it will be gone at this rate.</Empty>}
        columns={[
          { key: 'product', label: 'Of', value: (one) => one.product },
          { key: 'used', label: 'Used', value: (one) => one.used, cell: (one) => <Used ratio={one.used} />, right: true },
          { key: 'spent', label: 'Spent', value: (one) => one.spent, cell: (one) => usd(one.spent), right: true },
          { key: 'usd', label: 'Budget', value: (one) => one.usd, cell: (one) => usd(one.usd), right: true },
          { key: 'text', label: 'At this rate', value: (one) => one.text, wide: true },
          {
            key: 'do',
            label: '',
            value: () => null,
            right: true,
            cell: (one) => (
              <button type="button" class="quiet" onClick={() => put(one.product, null)} aria-label={`Take away the budget of ${one.product}`}>
                Take away
              </button>
            ),
          },
        ]}
      />
    </Card>
  )
}

function Used({ ratio }: { ratio: number | null }) {
  if (ratio === null) return <span class="muted">unknown</span>
  const tone = ratio >= 0.9 ? 'bad' : ratio >= 0.7 ? 'warn' : ''
  return (
    <>
      {percent(ratio)}
      <span class={`bar ${tone}`} aria-hidden="true">
        <i style={{ width: `${Math.min(100, ratio * 100)}%` }} />
      </span>
    </>
  )
}

function Limits({ costs }: { costs: Costs }) {
  return (
    <Card title="How near the plan's limits are">
      <Table<Headroom>
        name="Limits"
        rows={costs.headroom ?? []}
        id={(one) => `${one.limit} ${one.of ?? ''}`}
        start={{ key: 'ratio', down: true }}
        empty={<Empty title="No limit is measured yet" />}
        columns={[
          { key: 'limit', label: 'Limit', value: (one) => one.limit, cell: (one) => one.limit.replaceAll('_', ' ') },
          { key: 'of', label: 'Of', value: (one) => one.of ?? '', cell: (one) => <span class="cut">{one.of ?? ''}</span>, wide: true },
          { key: 'ratio', label: 'Used', value: (one) => one.ratio, cell: (one) => <Used ratio={one.ratio} />, right: true },
          { key: 'value', label: 'Of', value: (one) => one.value, cell: (one) => (one.unit.includes('byte') ? bytes(one.value) : `${number(one.value)} ${one.unit}`), right: true },
          { key: 'text', label: 'Then', value: (one) => one.text, cell: (one) => <span class="muted">{one.text}</span>, wide: true },
        ]}
      />
    </Card>
  )
}

interface Kept {
  readonly name: string
  readonly bytes: number
  readonly written_ms: number
}

function Reports() {
  const loaded = useLoad('reports', async (abort) => (await get<{ reports: Kept[] }>('api/costs/reports', {}, abort)).reports)
  const [said, say] = useState('')
  const write = async (): Promise<void> => {
    try {
      const { written } = await send<{ written: string[] }>('POST', 'api/costs/reports', { month: new Date().toISOString().slice(0, 7) })
      say(`Written: ${written.join(', ')}`)
      refresh()
    } catch (error) {
      say(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <Card
      title="Reports"
      actions={
        <button type="button" onClick={write}>
          Write this month's now
        </button>
      }
    >
      {said && (
        <p class="notice" role="status">
          {said}
        </p>
      )}
      <Shown loaded={loaded} what="reports">
        {(reports) => (
          <Table<Kept>
            name="Reports"
            rows={reports}
            id={(one) => one.name}
            start={{ key: 'name', down: true }}
            empty={<Empty title="No report yet">One is written when a month is complete.</Empty>}
            columns={[
              { key: 'name', label: 'Report', value: (one) => one.name, cell: (one) => <a href={address(`api/costs/reports/${encodeURIComponent(one.name)}`)}>{one.name}</a> },
              { key: 'bytes', label: 'Size', value: (one) => one.bytes, cell: (one) => bytes(one.bytes), right: true },
              { key: 'written', label: 'Written', value: (one) => one.written_ms, cell: (one) => moment(one.written_ms), right: true },
            ]}
          />
        )}
      </Shown>
    </Card>
  )
}
