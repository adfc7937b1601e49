/** Alerts: what is active, the rules, what became of them, what is kept quiet, what is noise. */

import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { acknowledge, type Alert, type Book, book, change, expire, history, type Noise, noise, remove, type Rule, type Silence, silence, silences, test, type Transition } from '../api/alerts.ts'
import { ago, formatted, moment, percent } from '../compute/format.ts'
import { matcherLines, matchersOf } from '../compute/rules.ts'
import { rangeParameters } from '../compute/time.ts'
import { Chart } from '../parts/chart.tsx'
import { Badge, Card, severityTone, Tabs } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { Table } from '../parts/table.tsx'
import { refresh } from '../state/live.ts'
import { useKept, useLoad } from '../state/load.ts'
import { currentBounds, go, href, now, place, range } from '../state/place.ts'
import { RuleForm } from './rule-form.tsx'

const PARTS: Record<string, [string, () => JSX.Element]> = {
  '': ['Active', Active],
  rules: ['Rules', Rules],
  history: ['History', History],
  silences: ['Silences', Silences],
  noise: ['Noise', NoiseReport],
}

export function Alerts() {
  const part = place.value.rest[0] ?? ''
  const [title, Part] = PARTS[part] ?? ['Active', Active]
  return (
    <div class="screen">
      <Tabs current={title} tabs={Object.entries(PARTS).map(([path, [name]]) => ({ name, link: href(path ? `alerts/${path}` : 'alerts') }))} />
      <Part key={part} />
    </div>
  )
}

const useBook = () => useKept(useLoad('alerts', book))

export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .filter(([key]) => key !== 'alertname' && key !== 'severity')
    .map(([key, value]) => `${key}=${value}`)
    .join(' ')
}

const STATE_TONES: Record<string, string> = { firing: 'bad', pending: 'warn', no_data: 'warn', inactive: 'good', disabled: 'plain' }

function State({ state }: { state: string | undefined }) {
  return <Badge tone={STATE_TONES[state ?? ''] ?? 'plain'}>{(state ?? 'unknown').replace('_', ' ')}</Badge>
}

/** Does something, says what went wrong, and looks again. */
function useAction(): [string, (work: () => Promise<unknown>, done?: string) => Promise<void>] {
  const [said, say] = useState('')
  const act = async (work: () => Promise<unknown>, done = ''): Promise<void> => {
    try {
      await work()
      say(done)
    } catch (error) {
      say(error instanceof Error ? error.message : String(error))
    }
    refresh()
  }
  return [said, act]
}

function Active() {
  const loaded = useBook()
  const [said, act] = useAction()
  return (
    <>
      {said && (
        <p class="notice" role="status">
          {said}
        </p>
      )}
      {loaded.state === 'ready' && <Asked found={loaded.data} />}
      <Card title="Active alerts">
        <Shown loaded={loaded} what="alerts">
          {(found) => <ActiveTable found={found} act={act} />}
        </Shown>
      </Card>
    </>
  )
}

/** The rule that a message's link names, over the range that it names. */
function Asked({ found }: { found: Book }) {
  const rule = found.rules.find((one) => one.id === place.value.parameters.get('rule'))
  if (!rule?.query) return null
  const query = rule.query
  return (
    <>
      <p class="row">
        <State state={rule.state} /> <b>{rule.name}</b> <span class="muted">{whenText(rule)}</span>
        <a href={href('alerts/rules', { edit: rule.id })}>Edit</a>
      </p>
      <Chart title={`What ${rule.name} looks at`} height={220} queries={() => [{ expr: query }]} />
    </>
  )
}

function ActiveTable({ found, act }: { found: Book; act: (work: () => Promise<unknown>, done?: string) => Promise<void> }) {
  const name = (alert: Alert): string => alert.labels['alertname'] ?? found.rules.find((rule) => rule.id === alert.rule_id)?.name ?? alert.rule_id
  const silenced = (alert: Alert): boolean => Boolean(alert.silenced_by?.length)
  return (
    <Table<Alert>
      name="Active alerts"
      rows={found.alerts}
      id={(alert) => alert.id}
      start={{ key: 'since', down: true }}
      empty={
        <Empty title="Nothing is wrong, as far as the rules see">
          {found.rules.length ? `${found.rules.filter((rule) => rule.enabled !== false).length} rules are evaluated.` : 'There are no rules yet. '}
          {!found.rules.length && <a href={href('alerts/rules')}>Begin with a template</a>}
        </Empty>
      }
      columns={[
        { key: 'state', label: 'State', value: (alert) => alert.state, cell: (alert) => <State state={alert.state} /> },
        {
          key: 'name',
          label: 'Alert',
          value: name,
          cell: (alert) => (
            <>
              <a href={href('alerts/rules', { edit: alert.rule_id })}>{name(alert)}</a>{' '}
              {alert.annotations['summary'] && <small class="wide">{alert.annotations['summary']}</small>}
              <small class="narrow">{labelText(alert.labels)}</small>
            </>
          ),
        },
        { key: 'severity', label: 'Severity', value: (alert) => alert.labels['severity'] ?? '', cell: (alert) => <Badge tone={severityTone(alert.labels['severity'])}>{alert.labels['severity'] ?? 'none'}</Badge>, wide: true },
        { key: 'of', label: 'Of', value: (alert) => labelText(alert.labels), cell: (alert) => <span class="muted cut">{labelText(alert.labels)}</span>, wide: true },
        { key: 'value', label: 'Value', value: (alert) => Number(alert.value), cell: (alert) => formatted(Number(alert.value), 'number'), right: true },
        { key: 'since', label: 'Since', value: (alert) => Date.parse(alert.active_since), cell: (alert) => <span title={moment(Date.parse(alert.active_since))}>{ago(Date.parse(alert.active_since), now())}</span>, right: true },
        {
          key: 'do',
          label: '',
          value: () => null,
          right: true,
          cell: (alert) => (
            <>
              {alert.labels['service_name'] && (
                <a class="quiet" href={href(`service/${encodeURIComponent(alert.labels['service_name'])}`)}>
                  Look
                </a>
              )}
              {silenced(alert) ? (
                <Badge>silenced</Badge>
              ) : (
                <a class="quiet" href={href('alerts/silences', { of: matchersOf(alert.labels).join(', ') })}>
                  Silence
                </a>
              )}
              {alert.acknowledged_by ? (
                <Badge tone="accent">taken by {alert.acknowledged_by}</Badge>
              ) : (
                <button type="button" class="quiet" onClick={() => act(() => acknowledge(alert.rule_id, 'the page'), 'Acknowledged.')}>
                  Acknowledge
                </button>
              )}
            </>
          ),
        },
      ]}
    />
  )
}

function Rules() {
  const loaded = useBook()
  const [said, act] = useAction()
  const { parameters } = place.value
  const editing = parameters.get('edit')
  const isNew = parameters.get('new') !== null
  return (
    <Shown loaded={loaded} what="rules" lines={6}>
      {(found) => {
        const rule = [...found.rules, ...found.templates].find((one) => one.id === editing)
        if (isNew || rule) return <RuleForm key={rule?.id ?? 'new'} {...(rule && { rule })} service={parameters.get('service') ?? ''} />
        return (
          <>
            {said && (
              <p class="notice" role="status">
                {said}
              </p>
            )}
            {found.problems.length > 0 && <Problems problems={found.problems} />}
            <Card title="Rules" actions={<button type="button" class="primary" onClick={() => go('alerts/rules', { new: '1' })}>New rule</button>}>
              <RuleTable rules={found.rules} act={act} name="Rules" />
            </Card>
            <Card title="Templates" actions={<span class="muted">off until you switch them on</span>}>
              <RuleTable rules={found.templates} act={act} name="Templates" />
            </Card>
          </>
        )
      }}
    </Shown>
  )
}

function Problems({ problems }: { problems: Book['problems'] }) {
  return (
    <div class="notice bad">
      <ul>
        {problems.map((problem, index) => (
          <li key={index}>
            {Object.values(problem).filter(Boolean).join(': ')}
          </li>
        ))}
      </ul>
    </div>
  )
}

function RuleTable({ rules, act, name }: { rules: readonly Rule[]; act: (work: () => Promise<unknown>, done?: string) => Promise<void>; name: string }) {
  const fromFile = (rule: Rule): boolean => rule.source?.startsWith('file:') ?? false
  const sent = async (rule: Rule): Promise<void> => {
    const { ok, results } = await test(rule.id)
    if (!ok) throw new Error(results.map((one) => `${one.channel}: ${one.ok ? 'sent' : (one.error ?? one.message ?? 'refused')}`).join('; ') || 'This rule has no channel to send to.')
  }
  return (
    <Table<Rule>
      name={name}
      rows={rules}
      id={(rule) => rule.id}
      start={{ key: 'name', down: false }}
      empty={<Empty title="No rules yet">Switch a template on below, or write one.</Empty>}
      columns={[
        { key: 'state', label: 'State', value: (rule) => rule.state ?? '', cell: (rule) => (rule.health === 'err' ? <Badge tone="bad">fails</Badge> : <State state={rule.type === 'recording' ? 'recording' : rule.enabled === false ? 'disabled' : rule.state} />) },
        {
          key: 'name',
          label: 'Rule',
          value: (rule) => rule.name,
          cell: (rule) => (
            <>
              {fromFile(rule) ? <b>{rule.name}</b> : <a href={href('alerts/rules', { edit: rule.id })}>{rule.name}</a>}
              {rule.last_error && <div class="bad">{rule.last_error}</div>}
            </>
          ),
        },
        { key: 'severity', label: 'Severity', value: (rule) => rule.severity ?? '', cell: (rule) => rule.severity && <Badge tone={severityTone(rule.severity)}>{rule.severity}</Badge>, wide: true },
        { key: 'when', label: 'When', value: (rule) => whenText(rule), cell: (rule) => <span class="cut muted" title={rule.query}>{whenText(rule)}</span>, wide: true },
        { key: 'source', label: 'From', value: (rule) => rule.source ?? '', cell: (rule) => <span class="muted cut">{(rule.source ?? '').replace('file:', '')}</span>, wide: true },
        {
          key: 'do',
          label: '',
          value: () => null,
          right: true,
          cell: (rule) => (
            <>
              {rule.query && (
                <a class="quiet" href={href('explore', { q: [rule.query] })}>
                  Query
                </a>
              )}
              {!fromFile(rule) && (
                <>
                  <button type="button" class="quiet" onClick={() => act(() => change(rule.id, { enabled: rule.enabled === false }))} aria-label={`${rule.enabled === false ? 'Switch on' : 'Switch off'} ${rule.name}`}>
                    {rule.enabled === false ? 'Switch on' : 'Switch off'}
                  </button>
                  <button type="button" class="quiet" onClick={() => act(() => sent(rule), 'Sent.')} aria-label={`Send a test of ${rule.name}`}>
                    Test
                  </button>
                  {name === 'Rules' && (
                    <button type="button" class="quiet" onClick={() => confirm(`Delete ${rule.name}?`) && act(() => remove(rule.id))} aria-label={`Delete ${rule.name}`}>
                      Delete
                    </button>
                  )}
                </>
              )}
            </>
          ),
        },
      ]}
    />
  )
}

function whenText(rule: Rule): string {
  const hold = rule.for && rule.for !== '0s' ? ` for ${rule.for}` : ''
  if (!rule.condition) return `${rule.query ?? rule.expr ?? ''}${hold}`
  return `${rule.metric ?? rule.expr} ${rule.condition.replaceAll('_', ' ')} ${rule.threshold}${hold}`
}

function History() {
  const loaded = useKept(
    useLoad(`history ${JSON.stringify(rangeParameters(range.value))}`, (abort) => {
      const { start, end } = currentBounds()
      return history(start, end, abort)
    }),
  )
  return (
    <Card title="What became of them">
      <Shown loaded={loaded} what="history">
        {(entries) => (
          <Table<Transition>
            name="History"
            rows={entries}
            id={(entry) => `${entry.time} ${entry.rule_id} ${labelText(entry.labels)} ${entry.to}`}
            start={{ key: 'time', down: true }}
            empty={<Empty title="No change of state in this range" />}
            columns={[
              { key: 'time', label: 'Time', value: (entry) => Date.parse(entry.time), cell: (entry) => moment(Date.parse(entry.time)) },
              { key: 'rule', label: 'Rule', value: (entry) => entry.rule },
              { key: 'from', label: 'From', value: (entry) => entry.from, cell: (entry) => <State state={entry.from} />, wide: true },
              { key: 'to', label: 'To', value: (entry) => entry.to, cell: (entry) => <State state={entry.to} /> },
              { key: 'value', label: 'Value', value: (entry) => Number(entry.value), cell: (entry) => formatted(Number(entry.value), 'number'), right: true },
              { key: 'of', label: 'Of', value: (entry) => labelText(entry.labels), cell: (entry) => <span class="muted cut">{labelText(entry.labels)}</span>, wide: true },
            ]}
          />
        )}
      </Shown>
    </Card>
  )
}

function Silences() {
  const loaded = useKept(useLoad('silences', silences))
  const [said, act] = useAction()
  return (
    <>
      <Card title="Keep quiet">
        <SilenceForm of={place.value.parameters.get('of') ?? ''} />
      </Card>
      <Card title="Silences">
        {said && (
          <p class="notice" role="status">
            {said}
          </p>
        )}
        <Shown loaded={loaded} what="silences">
          {(all) => <SilenceTable all={all} onExpire={(one) => act(() => expire(one.id))} />}
        </Shown>
      </Card>
    </>
  )
}

function SilenceForm({ of }: { of: string }) {
  const [matchers, setMatchers] = useState(of)
  const [duration, setDuration] = useState('2h')
  const [by, setBy] = useState('')
  const [comment, setComment] = useState('')
  const [wrong, setWrong] = useState('')
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault()
    try {
      await silence({ matchers: matcherLines(matchers), duration, createdBy: by, comment })
      setMatchers('')
      setWrong('')
      refresh()
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <form class="grid" onSubmit={submit}>
      <label class="field whole">
        Alerts with these labels
        <input required placeholder='alertname="High error rate", service_name="shop-web"' value={matchers} onInput={(event) => setMatchers(event.currentTarget.value)} />
      </label>
      <label class="field">
        For
        <input required value={duration} onInput={(event) => setDuration(event.currentTarget.value)} list="durations" />
        <datalist id="durations">
          {['30m', '2h', '8h', '1d', '1w'].map((one) => (
            <option key={one} value={one} />
          ))}
        </datalist>
      </label>
      <label class="field">
        Your name
        <input value={by} onInput={(event) => setBy(event.currentTarget.value)} />
      </label>
      <label class="field">
        Why
        <input value={comment} onInput={(event) => setComment(event.currentTarget.value)} />
      </label>
      <span class="row" style={{ alignSelf: 'end' }}>
        <button type="submit" class="primary">
          Silence
        </button>
        {wrong && (
          <span class="bad-text" role="alert">
            {wrong}
          </span>
        )}
      </span>
    </form>
  )
}

const matcherText = (one: Silence['matchers'][number]): string => `${one.name}${one.isEqual ? (one.isRegex ? '=~' : '=') : one.isRegex ? '!~' : '!='}"${one.value}"`

function SilenceTable({ all, onExpire }: { all: readonly Silence[]; onExpire: (one: Silence) => void }) {
  return (
    <Table<Silence>
      name="Silences"
      rows={all}
      id={(one) => one.id}
      start={{ key: 'ends', down: true }}
      empty={<Empty title="Nothing is silenced" />}
      columns={[
        { key: 'state', label: 'State', value: (one) => one.status?.state ?? '', cell: (one) => <Badge tone={one.status?.state === 'active' ? 'accent' : 'plain'}>{one.status?.state ?? ''}</Badge> },
        { key: 'matchers', label: 'Of', value: (one) => one.matchers.map(matcherText).join(', '), cell: (one) => <span class="mono cut">{one.matchers.map(matcherText).join(', ')}</span> },
        { key: 'by', label: 'By', value: (one) => one.createdBy, wide: true },
        { key: 'why', label: 'Why', value: (one) => one.comment, wide: true },
        { key: 'ends', label: 'Ends', value: (one) => Date.parse(one.endsAt), cell: (one) => <span title={moment(Date.parse(one.endsAt))}>{ago(Date.parse(one.endsAt), now())}</span>, right: true },
        {
          key: 'do',
          label: '',
          value: () => null,
          right: true,
          cell: (one) =>
            one.status?.state !== 'expired' && (
              <button type="button" class="quiet" onClick={() => onExpire(one)}>
                End it now
              </button>
            ),
        },
      ]}
    />
  )
}

const WEEK_MS = 7 * 86_400_000

function NoiseReport() {
  const loaded = useKept(useLoad('noise', (abort) => noise(now() - WEEK_MS, abort)))
  const [said, act] = useAction()
  return (
    <Card title="What made most messages in the last 7 days">
      {said && (
        <p class="notice" role="status">
          {said}
        </p>
      )}
      <Shown loaded={loaded} what="noise report">
        {(found) => (
          <>
            <p>{found.sentence}.</p>
            <NoiseTable found={found} onApply={(id, edit) => act(() => change(id, { for: edit }), 'Changed.')} />
          </>
        )}
      </Shown>
    </Card>
  )
}

function NoiseTable({ found, onApply }: { found: Noise; onApply: (id: string, edit: string) => void }) {
  return (
    <Table<Noise['rules'][number]>
      name="Noise"
      rows={found.rules}
      id={(rule) => rule.id}
      start={{ key: 'messages', down: true }}
      empty={<Empty title="No rule has sent anything" />}
      columns={[
        { key: 'name', label: 'Rule', value: (rule) => rule.name, cell: (rule) => <a href={href('alerts/rules', { edit: rule.id })}>{rule.name}</a> },
        { key: 'messages', label: 'Messages', value: (rule) => rule.messages, right: true },
        { key: 'share', label: 'Share', value: (rule) => rule.share, cell: (rule) => percent(rule.share), right: true },
        { key: 'fired', label: 'Fired', value: (rule) => rule.fired, right: true, wide: true },
        { key: 'short', label: 'Under 5 min', value: (rule) => rule.under_5_minutes, right: true, wide: true },
        {
          key: 'edit',
          label: 'What would quiet it',
          value: (rule) => rule.edit?.why ?? '',
          cell: (rule) =>
            rule.edit ? (
              <>
                {rule.edit.for && (
                  <button type="button" class="quiet" onClick={() => onApply(rule.id, rule.edit?.for ?? '')}>
                    Set for: {rule.edit.for}
                  </button>
                )}{' '}
                <span class="muted">{rule.edit.why}</span>
              </>
            ) : (
              '–'
            ),
        },
      ]}
    />
  )
}
