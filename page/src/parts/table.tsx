/** A table that sorts by any column and goes out as CSV. */

import type { ComponentChildren } from 'preact'
import { useMemo, useState } from 'preact/hooks'
import { csv, save } from '../compute/csv.ts'
import { type Order, sorted, type Value } from '../compute/sorting.ts'

export interface Column<Row> {
  readonly key: string
  readonly label: string
  readonly value: (row: Row) => Value
  readonly cell?: (row: Row) => ComponentChildren
  /** Numbers stand right. */
  readonly right?: boolean
  /** Left out on a phone. */
  readonly wide?: boolean
  readonly help?: string
}

interface Properties<Row> {
  /** For the file name and for those who hear the page. */
  readonly name: string
  readonly columns: readonly Column<Row>[]
  readonly rows: readonly Row[]
  readonly id: (row: Row) => string
  readonly start?: Order
  readonly most?: number
  readonly empty?: ComponentChildren
  readonly tools?: ComponentChildren
  readonly tone?: (row: Row) => string
}

export function Table<Row>(properties: Properties<Row>) {
  const { name, columns, rows, id, most = 200, empty, tools, tone } = properties
  const [order, setOrder] = useState<Order | null>(properties.start ?? null)
  const [all, setAll] = useState(false)
  const inOrder = useMemo(() => {
    const by = order && columns.find((column) => column.key === order.key)
    return by ? sorted(rows, by.value, order.down) : [...rows]
  }, [rows, order, columns])
  const shown = all ? inOrder : inOrder.slice(0, most)
  if (!rows.length && empty !== undefined) return <>{empty}</>
  return (
    <div class="table">
      <div class="scroll" tabIndex={0} role="region" aria-label={name}>
        <table>
          <caption class="heard">{name}</caption>
          <thead>
            <tr>
              {columns.map((column) => (
                <Head key={column.key} column={column} order={order} onOrder={setOrder} />
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={id(row)} class={tone?.(row)}>
                {columns.map((column) => (
                  <td key={column.key} class={classes(column)}>
                    {column.cell ? column.cell(row) : (column.value(row) ?? '–')}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="table-foot">
        {inOrder.length > shown.length && (
          <button type="button" class="quiet" onClick={() => setAll(true)}>
            Show all {inOrder.length}
          </button>
        )}
        {tools}
        <button type="button" class="quiet export" onClick={() => exportCsv(name, columns, inOrder)} aria-label={`Export ${name} as CSV`}>
          CSV
        </button>
      </div>
    </div>
  )
}

function Head<Row>({ column, order, onOrder }: { column: Column<Row>; order: Order | null; onOrder: (order: Order) => void }) {
  if (!column.label)
    return (
      <th class={classes(column)} scope="col">
        <span class="heard">Actions</span>
      </th>
    )
  const mine = order?.key === column.key
  const direction = mine ? (order.down ? 'descending' : 'ascending') : 'none'
  // Numbers are wanted from the top first, words from A.
  const next = { key: column.key, down: mine ? !order.down : Boolean(column.right) }
  return (
    <th class={classes(column)} aria-sort={direction} scope="col">
      <button type="button" onClick={() => onOrder(next)} title={column.help}>
        {column.label}
        <span class="arrow" aria-hidden="true">
          {mine ? (order.down ? '↓' : '↑') : ''}
        </span>
      </button>
    </th>
  )
}

function classes(column: { right?: boolean; wide?: boolean }): string {
  return [column.right && 'right', column.wide && 'wide'].filter(Boolean).join(' ')
}

function exportCsv<Row>(name: string, columns: readonly Column<Row>[], rows: readonly Row[]): void {
  const cells = rows.map((row) => columns.map((column) => column.value(row)))
  const file = name.toLowerCase().replace(/[^a-z0-9]+/g, '-')
  save(`${file}.csv`, csv(columns.map((column) => column.label), cells))
}
