/** A rule as a form: what it watches, and at once how often it would have fired. */

import { useEffect, useState } from 'preact/hooks'
import { type Backtest, backtest, create, type Draft, replace, type Rule } from '../api/alerts.ts'
import { ApiError } from '../api/http.ts'
import { moment, whole } from '../compute/format.ts'
import { BUILT_IN, CONDITIONS, draftOf, type Fields, fieldsOf, NEW, ruleFile, yaml } from '../compute/rules.ts'
import { QueryField } from '../parts/query-field.tsx'
import { Badge, Card, Copy } from '../parts/small.tsx'
import { Empty } from '../parts/states.tsx'
import { Table } from '../parts/table.tsx'
import { refresh } from '../state/live.ts'
import { go, href } from '../state/place.ts'
import { labelText } from './alerts.tsx'

export function RuleForm({ rule, service }: { rule?: Rule; service: string }) {
  const [fields, setFields] = useState<Fields>(rule ? fieldsOf(rule) : { ...NEW, service, name: service && `${service} fails` })
  const [wrong, setWrong] = useState<ApiError | null>(null)
  const [view, setView] = useState<'form' | 'yaml'>('form')
  const set = (change: Partial<Fields>): void => setFields({ ...fields, ...change })
  const draft = draftOf(fields, rule)
  const save = async (event: Event): Promise<void> => {
    event.preventDefault()
    try {
      await (rule ? replace(rule.id, draft) : create(draft))
      refresh()
      go('alerts/rules')
    } catch (error) {
      setWrong(error instanceof ApiError ? error : new ApiError(0, 'failed', String(error)))
    }
  }
  return (
    <div class="screen">
      <Card
        title={rule ? `Rule ${rule.name}` : 'New rule'}
        actions={
          <span class="segments" role="group" aria-label="View">
            <button type="button" aria-pressed={view === 'form'} onClick={() => setView('form')}>
              Form
            </button>
            <button type="button" aria-pressed={view === 'yaml'} onClick={() => setView('yaml')}>
              YAML
            </button>
          </span>
        }
      >
        {view === 'form' ? (
          <form class="grid" onSubmit={save}>
            <Watched fields={fields} set={set} wrong={wrong} />
            <Told fields={fields} set={set} wrong={wrong} />
            <div class="row" style={{ gridColumn: '1 / -1' }}>
              <button type="submit" class="primary">
                Save
              </button>
              <a class="button" href={href('alerts/rules')}>
                Cancel
              </a>
              {wrong && (
                <span class="bad-text" role="alert">
                  {wrong.field ? `${wrong.field}: ` : ''}
                  {wrong.message}
                </span>
              )}
            </div>
          </form>
        ) : (
          <Yaml draft={draft} rule={rule} />
        )}
      </Card>
      <TryOut draft={draft} onFor={(text) => set({ for: text })} />
    </div>
  )
}

interface Part {
  readonly fields: Fields
  readonly set: (change: Partial<Fields>) => void
  readonly wrong: ApiError | null
}

function Watched({ fields, set, wrong }: Part) {
  const built = BUILT_IN.find((one) => one.name === fields.metric)
  return (
    <>
      <label class="field">
        Name
        <input required value={fields.name} onInput={(event) => set({ name: event.currentTarget.value })} />
        {wrong?.field === 'name' && <span class="wrong">{wrong.message}</span>}
      </label>
      <label class="field">
        Watches
        <select value={fields.kind} onChange={(event) => set({ kind: event.currentTarget.value as Fields['kind'] })}>
          <option value="metric">a built-in or a metric</option>
          <option value="expr">a PromQL expression</option>
        </select>
      </label>
      {fields.kind === 'metric' ? (
        <>
          <label class="field">
            Metric
            <input
              required
              list="built-in"
              value={fields.metric}
              onInput={(event) => set({ metric: event.currentTarget.value, ...suggested(event.currentTarget.value) })}
            />
            <datalist id="built-in">
              {BUILT_IN.map((one) => (
                <option key={one.name} value={one.name} label={one.what} />
              ))}
            </datalist>
            <small>{built ? `${built.what}, in ${built.unit}` : 'any metric name'}</small>
          </label>
          <label class="field">
            Of the service
            <input value={fields.service} placeholder="each" onInput={(event) => set({ service: event.currentTarget.value })} />
          </label>
          <label class="field">
            Over, in minutes
            <input type="number" min="1" required value={fields.window} onInput={(event) => set({ window: event.currentTarget.value })} />
          </label>
        </>
      ) : (
        <div class="field" style={{ gridColumn: '1 / -1' }}>
          <QueryField text={fields.expr} label="Expression" onChange={(expr) => set({ expr })} onRun={() => undefined} />
          {wrong?.field === 'expr' && <span class="bad-text">{wrong.message}</span>}
        </div>
      )}
    </>
  )
}

/** The usual threshold of a built-in, the right way round. */
function suggested(metric: string): Partial<Fields> {
  const built = BUILT_IN.find((one) => one.name === metric)
  if (!built) return {}
  const below = metric === 'success_rate' || metric === 'budget_hours_left'
  return { threshold: built.threshold, condition: below ? 'less_than' : 'greater_than' }
}

function Told({ fields, set, wrong }: Part) {
  return (
    <>
      <label class="field">
        Is
        <select value={fields.condition} onChange={(event) => set({ condition: event.currentTarget.value })}>
          {fields.kind === 'expr' && <option value="">there at all</option>}
          {CONDITIONS.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      </label>
      {(fields.kind === 'metric' || fields.condition) && (
        <label class="field">
          Threshold
          <input type="number" step="any" required value={fields.threshold} onInput={(event) => set({ threshold: event.currentTarget.value })} />
          {wrong?.field === 'threshold' && <span class="wrong">{wrong.message}</span>}
        </label>
      )}
      <label class="field">
        For at least
        <input value={fields.for} pattern="([0-9]+(ms|s|m|h|d|w|y))+" title="A duration such as 5m" onInput={(event) => set({ for: event.currentTarget.value })} />
      </label>
      <label class="field">
        Severity
        <select value={fields.severity} onChange={(event) => set({ severity: event.currentTarget.value })}>
          {[...new Set(['critical', 'warning', 'info', fields.severity])].map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
      </label>
      <label class="field">
        Without data
        <select value={fields.noData} onChange={(event) => set({ noData: event.currentTarget.value })}>
          <option value="keep">keeps its state</option>
          <option value="ok">counts as fine</option>
          <option value="alert">is an alert</option>
        </select>
      </label>
      <label class="field">
        Tells
        <input value={fields.channels} placeholder="slack, pagerduty, email" onInput={(event) => set({ channels: event.currentTarget.value })} />
        {wrong?.field === 'notification_channels' && <span class="wrong">{wrong.message}</span>}
      </label>
    </>
  )
}

function Yaml({ draft, rule }: { draft: Draft; rule: Rule | undefined }) {
  const file = draft.expr || rule?.query ? ruleFile(draft, rule?.query ?? '') : null
  return (
    <div class="columns">
      <div>
        <div class="row between">
          <h3>As the API takes it</h3>
          <Copy text={yaml(draft)} />
        </div>
        <pre class="block" tabIndex={0}>
          {yaml(draft)}
        </pre>
      </div>
      {file && (
        <div>
          <div class="row between">
            <h3>As a Prometheus rule file</h3>
            <Copy text={file} />
          </div>
          <pre class="block" tabIndex={0}>
            {file}
          </pre>
        </div>
      )}
    </div>
  )
}

/** How long to wait for the next letter before the past is asked. */
const TYPING_MS = 600

function TryOut({ draft, onFor }: { draft: Draft; onFor: (text: string) => void }) {
  const [range, setRange] = useState('7d')
  const [found, setFound] = useState<Backtest | null>(null)
  const [wrong, setWrong] = useState('')
  const [busy, setBusy] = useState(false)
  const key = JSON.stringify([draft, range])
  useEffect(() => {
    if (!draft.expr && !draft.metric) return
    let gone = false
    const timer = setTimeout(() => {
      setBusy(true)
      backtest({ ...draft, name: draft.name || 'new' }, range)
        .then(
          (answer) => gone || (setFound(answer), setWrong('')),
          (error: unknown) => gone || setWrong(error instanceof Error ? error.message : String(error)),
        )
        .finally(() => gone || setBusy(false))
    }, TYPING_MS)
    return () => {
      gone = true
      clearTimeout(timer)
    }
  }, [key])
  return (
    <Card
      title="Tried on the past"
      busy={busy}
      actions={
        <select aria-label="How far back" value={range} onChange={(event) => setRange(event.currentTarget.value)}>
          <option value="1h">1 hour</option>
          <option value="1d">1 day</option>
          <option value="7d">7 days</option>
          <option value="30d">30 days</option>
        </select>
      }
    >
      {wrong && <p class="notice bad">{wrong}</p>}
      {found ? <Tried found={found} onFor={onFor} /> : !wrong && <Empty title="Looking at the past …" />}
    </Card>
  )
}

function Tried({ found, onFor }: { found: Backtest; onFor: (text: string) => void }) {
  const suggestion = found.suggestion
  return (
    <>
      <p role="status">
        This rule <b>{found.sentence}</b>. <span class="muted">{found.series} series looked at.</span>
      </p>
      <div class="row">
        {found.with_for.map((one) => (
          <button type="button" class="quiet" key={one.for} onClick={() => onFor(one.for)} title={`Set for: ${one.for}`}>
            for {one.for}: {one.fired} {one.for === suggestion?.for && <Badge tone="accent">suggested</Badge>}
          </button>
        ))}
      </div>
      {found.episodes.length > 0 && (
        <Table<Backtest['episodes'][number]>
          name="When it would have fired"
          rows={found.episodes}
          id={(one) => `${one.start} ${labelText(one.labels)}`}
          start={{ key: 'start', down: true }}
          most={10}
          columns={[
            { key: 'start', label: 'Begin', value: (one) => one.start, cell: (one) => moment(one.start * 1000) },
            { key: 'long', label: 'Lasted', value: (one) => (one.end ?? found.end) - one.start, cell: (one) => (one.end === null ? 'until now' : whole((one.end - one.start) * 1000)), right: true },
            { key: 'of', label: 'Of', value: (one) => labelText(one.labels), cell: (one) => <span class="muted cut">{labelText(one.labels)}</span> },
          ]}
        />
      )}
    </>
  )
}
