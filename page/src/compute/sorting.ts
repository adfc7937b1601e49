/** Rows in the order of a column: what is missing stands last, whichever way round. */

export interface Order {
  readonly key: string
  readonly down: boolean
}

export type Value = string | number | null | undefined

function absent(value: Value): boolean {
  return value === null || value === undefined || value === '' || Number.isNaN(value)
}

export function compare(left: Value, right: Value, down: boolean): number {
  if (absent(left) || absent(right)) return Number(absent(left)) - Number(absent(right))
  const order =
    typeof left === 'number' && typeof right === 'number'
      ? left - right
      : String(left).localeCompare(String(right), 'en', { numeric: true })
  return down ? -order : order
}

export function sorted<Row>(rows: readonly Row[], value: (row: Row) => Value, down: boolean): Row[] {
  return [...rows].sort((left, right) => compare(value(left), value(right), down))
}
