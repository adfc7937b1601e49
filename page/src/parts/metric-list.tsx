/** What metrics there are: type, unit, how many series, what each costs, when it was last asked for. */

import { useMemo, useState } from 'preact/hooks'
import { get } from '../api/http.ts'
import { headStats, labelValues, metadata, type Metadata } from '../api/prometheus.ts'
import { csv, save } from '../compute/csv.ts'
import { ago, count, usd } from '../compute/format.ts'
import { firstQuery } from '../compute/promql.ts'
import { useLoad } from '../state/load.ts'
import { now } from '../state/place.ts'
import { Badge, Card } from './small.tsx'
import { Empty, Shown } from './states.tsx'

export interface Metric {
  readonly name: string
  readonly type: string
  readonly unit: string
  readonly help: string
  readonly series: number
  readonly usd: number | null
  readonly lastUse: number | null
}

interface Price {
  readonly usd: number | null
  readonly lastUse: number | null
}

/** Names shown at once; the search finds the rest. */
const SHOWN = 200

async function metrics(abort: AbortSignal): Promise<readonly Metric[]> {
  const [names, about, head, prices] = await Promise.all([
    labelValues('__name__', null, abort),
    metadata(abort),
    headStats(10_000, abort),
    priceTags(abort),
  ])
  return listed(names, about, new Map(head.seriesCountByMetricName.map(({ name, value }) => [name, value])), prices)
}

/** Parts of a histogram have the metadata of the whole. */
export function familyName(name: string, about: Readonly<Record<string, unknown>>): string {
  const whole = name.replace(/_(bucket|count|sum|total)$/, '')
  return name in about ? name : whole in about ? whole : name
}

export function listed(
  names: readonly string[],
  about: Readonly<Record<string, readonly Metadata[]>>,
  series: ReadonlyMap<string, number>,
  prices: ReadonlyMap<string, Price>,
): Metric[] {
  return names.map((name) => {
    const family = about[familyName(name, about)]?.[0]
    const price = prices.get(name)
    return {
      name,
      type: family?.type ?? 'unknown',
      unit: family?.unit ?? '',
      help: family?.help ?? '',
      series: series.get(name) ?? 0,
      usd: price?.usd ?? null,
      lastUse: price?.lastUse ?? null,
    }
  })
}

interface Costs {
  readonly metrics?: readonly { metric: string; usd_month_list: number; last_use: string | null }[]
}

/** Empty where costs are not metered: the list works without. */
async function priceTags(abort: AbortSignal): Promise<Map<string, Price>> {
  try {
    const costs = await get<Costs>('api/costs', { breakdown: true }, abort)
    return new Map((costs.metrics ?? []).map((one) => [one.metric, { usd: one.usd_month_list, lastUse: one.last_use ? Date.parse(one.last_use) : null }]))
  } catch {
    return new Map()
  }
}

export function MetricList({ onPick }: { onPick: (expr: string) => void }) {
  const loaded = useLoad('metrics', metrics, true)
  const [text, setText] = useState('')
  const [by, setBy] = useState<'name' | 'series' | 'usd'>('name')
  const actions =
    loaded.state === 'ready' ? (
      <button type="button" class="quiet" onClick={() => exportMetrics(loaded.data)}>
        CSV
      </button>
    ) : null
  return (
    <Card title="Metrics" actions={actions}>
      <div class="row" style={{ flexWrap: 'nowrap' }}>
        <input type="search" placeholder="Find ( / )" aria-label="Find a metric" value={text} onInput={(event) => setText(event.currentTarget.value)} style={{ flex: 1 }} />
        <select aria-label="Order of the metrics" value={by} onChange={(event) => setBy(event.currentTarget.value as typeof by)}>
          <option value="name">Name</option>
          <option value="series">Series</option>
          <option value="usd">Price</option>
        </select>
      </div>
      <Shown loaded={loaded} what="metrics" lines={6}>
        {(all) => <Found all={all} text={text} by={by} onPick={onPick} />}
      </Shown>
    </Card>
  )
}

function Found({ all, text, by, onPick }: { all: readonly Metric[]; text: string; by: 'name' | 'series' | 'usd'; onPick: (expr: string) => void }) {
  const found = useMemo(() => searched(all, text, by), [all, text, by])
  if (!found.length) return <Empty title={all.length ? 'No metric of that name' : 'No metric yet'} />
  return (
    <div class="metrics-list" tabIndex={0} role="region" aria-label="List of metrics">
      {found.slice(0, SHOWN).map((metric) => (
        <button type="button" key={metric.name} onClick={() => onPick(firstQuery(metric.name, metric.type, ['service_name']))} title={metric.help}>
          <span class="name">{metric.name}</span>
          <span class="row" style={{ gap: '6px' }}>
            <Badge>{metric.type}</Badge>
            {metric.unit && <small>{metric.unit}</small>}
            <small>{count(metric.series)} series</small>
            {metric.usd !== null && <small>{usd(metric.usd)}/month</small>}
            {metric.lastUse !== null && <small>asked {ago(metric.lastUse, now())}</small>}
          </span>
        </button>
      ))}
      {found.length > SHOWN && <p class="muted">and {found.length - SHOWN} more</p>}
    </div>
  )
}

/** All words, in any order, in the name or the help. */
export function searched(all: readonly Metric[], text: string, by: 'name' | 'series' | 'usd'): Metric[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean)
  const found = all.filter((metric) => {
    const where = `${metric.name} ${metric.help}`.toLowerCase()
    return words.every((word) => where.includes(word))
  })
  return found.sort((left, right) => (by === 'name' ? left.name.localeCompare(right.name) : (right[by] ?? -1) - (left[by] ?? -1)))
}

function exportMetrics(all: readonly Metric[]): void {
  const rows = all.map((one) => [one.name, one.type, one.unit, one.series, one.usd, one.lastUse && new Date(one.lastUse).toISOString(), one.help])
  save('metrics.csv', csv(['metric', 'type', 'unit', 'series', 'usd a month', 'last use', 'help'], rows))
}
