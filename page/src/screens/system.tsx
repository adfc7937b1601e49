/** The gateway itself: what came, what is stored, what is large, who may come in, what is set. */

import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import { type Health, health, inbox } from '../api/gateway.ts'
import { get, send } from '../api/http.ts'
import { headStats } from '../api/prometheus.ts'
import { ago, bytes, count, moment, whole } from '../compute/format.ts'
import { Dialog } from '../parts/dialog.tsx'
import { Inbox } from '../parts/inbox.tsx'
import { Badge, Card, Copy, Stat, Tabs } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { Table } from '../parts/table.tsx'
import { refresh } from '../state/live.ts'
import { useKept, useLoad } from '../state/load.ts'
import { href, now, place } from '../state/place.ts'

const PARTS: Record<string, [string, () => JSX.Element]> = {
  '': ['Inbox', Requests],
  storage: ['Storage', Storage],
  cardinality: ['Cardinality', Cardinality],
  tokens: ['Tokens', Tokens],
  audit: ['Changes', Audit],
  doctor: ['Doctor', Doctor],
}

export function System() {
  const part = place.value.rest[0] ?? ''
  const [title, Part] = PARTS[part] ?? PARTS[''] ?? ['', Requests]
  return (
    <div class="screen">
      <Tabs current={title} tabs={Object.entries(PARTS).map(([path, [name]]) => ({ name, link: href(path ? `system/${path}` : 'system') }))} />
      <Part key={part} />
    </div>
  )
}

function Requests() {
  const loaded = useKept(useLoad('inbox', inbox))
  return (
    <Card title="The last requests, and what became of them" actions={<a class="quiet" href={href('connect')}>Connect an app</a>}>
      <Shown loaded={loaded} what="inbox" lines={6}>
        {(requests) => (requests.length ? <Inbox requests={requests} /> : <Empty title="Nothing has come since the gateway started" />)}
      </Shown>
    </Card>
  )
}

function Storage() {
  const loaded = useKept(useLoad('health', health))
  return (
    <Shown loaded={loaded} what="storage" lines={4}>
      {(found) => <Stored found={found} />}
    </Shown>
  )
}

function Stored({ found }: { found: Health }) {
  const { storage } = found
  const size = storage['bytes']
  return (
    <>
      <div class="stats">
        <Stat label="State" value={found.status} tone={found.status === 'ok' ? '' : 'bad'} note={`version ${found.version}, up ${whole(found.uptime_s * 1000)}`} />
        <Stat label="Active series" value={count(Number(storage['series'] ?? 0))} note="with a sample in the last hour" />
        <Stat label="On disk" value={bytes(typeof size === 'number' ? size : null)} note={`${count(Number(storage['unsealed_samples'] ?? 0))} samples not compressed yet`} />
        <Stat label="Newest sample" value={ago(found.last_sample_ms, now())} note={moment(found.last_sample_ms)} />
      </div>
      <Card title="All that /api/health says" actions={<a class="quiet" href="./metrics">Own metrics</a>}>
        <pre class="block" tabIndex={0}>
          {JSON.stringify(found, null, 2)}
        </pre>
      </Card>
    </>
  )
}

function Cardinality() {
  const loaded = useKept(useLoad('cardinality', (abort) => headStats(500, abort)))
  return (
    <Shown loaded={loaded} what="cardinality" lines={6}>
      {(head) => (
        <>
          <div class="stats">
            <Stat label="Series" value={count(head.headStats.numSeries)} />
            <Stat label="Pairs of label and value" value={count(head.headStats.numLabelPairs)} />
          </div>
          <div class="columns">
            <Counts name="Series by metric" of="Metric" rows={head.seriesCountByMetricName} link={(name) => href('explore', { q: [name] })} />
            <Counts name="Values by label" of="Label" rows={head.labelValueCountByLabelName} />
            <Counts name="Series by label and value" of="Label and value" rows={head.seriesCountByLabelValuePair} />
          </div>
        </>
      )}
    </Shown>
  )
}

interface Counted {
  readonly name: string
  readonly value: number
}

function Counts({ name, of, rows, link }: { name: string; of: string; rows: readonly Counted[]; link?: (name: string) => string }) {
  return (
    <Card title={name}>
      <Table<Counted>
        name={name}
        rows={rows}
        id={(row) => row.name}
        start={{ key: 'value', down: true }}
        most={15}
        empty={<Empty title="Nothing stored yet" />}
        columns={[
          { key: 'name', label: of, value: (row) => row.name, cell: (row) => <span class="cut mono">{link ? <a href={link(row.name)}>{row.name}</a> : row.name}</span> },
          { key: 'value', label: 'Count', value: (row) => row.value, cell: (row) => count(row.value), right: true },
        ]}
      />
    </Card>
  )
}

interface Token {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly created_ms?: number | null
  readonly expires_ms?: number | null
  readonly last_used_ms?: number | null
  readonly revoked_ms?: number | null
}

function Tokens() {
  const loaded = useLoad('tokens', async (abort) => (await get<{ tokens: Token[] }>('api/tokens', {}, abort)).tokens)
  const [made, setMade] = useState('')
  const revoke = async (token: Token): Promise<void> => {
    if (!confirm(`Revoke ${token.name}? Who uses it is refused from then on.`)) return
    await send('DELETE', `api/tokens/${encodeURIComponent(token.id)}`)
    refresh()
  }
  return (
    <Card title="Tokens">
      <NewToken onMade={setMade} />
      {made && (
        <Dialog title="The new token" onClose={() => setMade('')}>
          <p>It is shown this once; what is stored is a hash.</p>
          <div class="row">
            <code>{made}</code>
            <Copy text={made} />
          </div>
        </Dialog>
      )}
      <Shown loaded={loaded} what="tokens">
        {(tokens) => <TokenTable tokens={tokens} onRevoke={revoke} />}
      </Shown>
    </Card>
  )
}

function NewToken({ onMade }: { onMade: (token: string) => void }) {
  const [name, setName] = useState('')
  const [scope, setScope] = useState('ingest')
  const [wrong, setWrong] = useState('')
  const make = async (event: Event): Promise<void> => {
    event.preventDefault()
    try {
      onMade((await send<{ token: string }>('POST', 'api/tokens', { name, scopes: [scope] })).token)
      setName('')
      setWrong('')
      refresh()
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <form class="row" onSubmit={make}>
      <input aria-label="Name of the new token" placeholder="Name, such as shop-web" required value={name} onInput={(event) => setName(event.currentTarget.value)} />
      <select aria-label="What it may do" value={scope} onChange={(event) => setScope(event.currentTarget.value)}>
        <option value="ingest">may send</option>
        <option value="read">may read</option>
        <option value="admin">may change</option>
      </select>
      <button type="submit">Create a token</button>
      {wrong && (
        <span class="bad-text" role="alert">
          {wrong}
        </span>
      )}
    </form>
  )
}

function TokenTable({ tokens, onRevoke }: { tokens: readonly Token[]; onRevoke: (token: Token) => void }) {
  return (
    <Table<Token>
      name="Tokens"
      rows={tokens}
      id={(token) => token.id}
      empty={<Empty title="No tokens">Whoever reaches the ports may read and send. The first token closes the door.</Empty>}
      columns={[
        { key: 'name', label: 'Name', value: (token) => token.name },
        { key: 'scopes', label: 'May', value: (token) => token.scopes.join(' '), cell: (token) => token.scopes.map((scope) => <Badge key={scope}>{scope}</Badge>) },
        { key: 'used', label: 'Last used', value: (token) => token.last_used_ms ?? null, cell: (token) => ago(token.last_used_ms, now()), right: true },
        { key: 'expires', label: 'Expires', value: (token) => token.expires_ms ?? null, cell: (token) => (token.expires_ms ? moment(token.expires_ms) : 'never'), right: true, wide: true },
        {
          key: 'do',
          label: '',
          value: () => null,
          right: true,
          cell: (token) =>
            token.revoked_ms ? (
              <Badge>revoked</Badge>
            ) : (
              <button type="button" class="quiet" onClick={() => onRevoke(token)} aria-label={`Revoke ${token.name}`}>
                Revoke
              </button>
            ),
        },
      ]}
    />
  )
}

type Change = Readonly<Record<string, unknown>>

function Audit() {
  const loaded = useLoad('audit', async (abort) => (await get<{ changes: Change[] }>('api/audit', { limit: 500 }, abort)).changes)
  return (
    <Card title="Who changed what">
      <Shown loaded={loaded} what="changes">
        {(changes) => <Changes changes={changes} />}
      </Shown>
    </Card>
  )
}

/** The columns are what the gateway tells. */
function Changes({ changes }: { changes: readonly Change[] }) {
  const keys = [...new Set(changes.flatMap((change) => Object.keys(change)))]
  const rows = changes.map((change, index) => ({ change, index }))
  return (
    <Table<{ change: Change; index: number }>
      name="Changes"
      rows={rows}
      id={({ index }) => String(index)}
      empty={<Empty title="Nothing was changed yet" />}
      columns={keys.map((key) => ({
        key,
        label: key.replace(/_ms$/, '').replaceAll('_', ' '),
        value: ({ change }) => (typeof change[key] === 'number' ? change[key] : String(change[key] ?? '')),
        cell: ({ change }) => <span class="cut">{key.endsWith('_ms') && typeof change[key] === 'number' ? moment(change[key]) : String(change[key] ?? '')}</span>,
      }))}
    />
  )
}

interface Check {
  readonly name?: string
  readonly check?: string
  readonly status?: string
  readonly ok?: boolean
  readonly message?: string
  readonly text?: string
  readonly fix?: string
}

function Doctor() {
  const loaded = useLoad('doctor', async (abort) => (await get<{ checks: Check[] }>('api/doctor', {}, abort)).checks, true)
  return (
    <Card title="What the doctor says">
      <Shown
        loaded={loaded}
        what="doctor"
        absent={
          <>
            Run <code>mirubato doctor</code> where the gateway runs: it looks at keys, clock, ports, disk, TLS and every receiver, and says the fix.
          </>
        }
      >
        {(checks) => (
          <Table<Check>
            name="Checks"
            rows={checks}
            id={(check) => `${check.name ?? check.check} ${check.message ?? check.text}`}
            columns={[
              { key: 'state', label: 'State', value: (check) => check.status ?? String(check.ok), cell: (check) => <Badge tone={check.ok === false || check.status === 'failed' ? 'bad' : 'good'}>{check.status ?? (check.ok ? 'ok' : 'failed')}</Badge> },
              { key: 'name', label: 'Check', value: (check) => check.name ?? check.check ?? '' },
              { key: 'says', label: 'Says', value: (check) => check.message ?? check.text ?? '' },
              { key: 'fix', label: 'Fix', value: (check) => check.fix ?? '' },
            ]}
          />
        )}
      </Shown>
    </Card>
  )
}
