/** The last requests, each with its verdict and, where something was refused, the fix. */

import type { InboxRequest } from '../api/gateway.ts'
import { bytes, clock, count } from '../compute/format.ts'
import { Badge } from './small.tsx'
import { type Column, Table } from './table.tsx'

const TONES = { ok: 'good', partial: 'warn', refused: 'bad' }

const COLUMNS: readonly Column<InboxRequest>[] = [
  { key: 'time', label: 'Time', value: (one) => one.time_ms, cell: (one) => clock(one.time_ms) },
  { key: 'verdict', label: 'Verdict', value: (one) => one.verdict, cell: (one) => <Badge tone={TONES[one.verdict]}>{one.verdict}</Badge> },
  { key: 'door', label: 'Door', value: (one) => one.door, wide: true },
  { key: 'signal', label: 'What', value: (one) => one.signal },
  { key: 'accepted', label: 'Taken', value: (one) => one.accepted, cell: (one) => count(one.accepted), right: true },
  { key: 'rejected', label: 'Refused', value: (one) => one.rejected, cell: (one) => count(one.rejected), right: true },
  { key: 'bytes', label: 'Size', value: (one) => one.bytes, cell: (one) => bytes(one.bytes), right: true, wide: true },
  {
    key: 'reasons',
    label: 'Why, and the fix',
    value: (one) => one.reasons.map((reason) => [reason.text, reason.fix].filter(Boolean).join(': ')).join('; '),
    cell: (one) => <Reasons request={one} />,
  },
]

export function Inbox({ requests }: { requests: readonly InboxRequest[] }) {
  const rows = requests.map((request, index) => ({ ...request, index }))
  return (
    <Table
      name="Inbox"
      columns={COLUMNS}
      rows={rows}
      id={(one) => `${one.time_ms} ${(one as InboxRequest & { index: number }).index}`}
      start={{ key: 'time', down: true }}
      most={30}
    />
  )
}

function Reasons({ request }: { request: InboxRequest }) {
  return (
    <>
      {request.reasons.map((reason) => (
        <div key={reason.text}>
          {reason.text} {reason.count > 1 && <small>× {count(reason.count)}</small>}
          {reason.fix && <div class="muted">{reason.fix}</div>}
        </div>
      ))}
    </>
  )
}
