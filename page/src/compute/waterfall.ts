/** The spans of one trace as rows: which are shown, how deep, and where their bars lie. */

export interface Span {
  readonly span_id: string
  readonly parent_id: string
  readonly service: string
  readonly name: string
  readonly kind: string
  readonly offset_ms: number
  readonly duration_ms: number
  readonly error: boolean
  readonly status?: { readonly code: string; readonly message: string }
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events?: readonly { readonly name: string; readonly offset_ms: number; readonly attributes: Readonly<Record<string, unknown>> }[]
  readonly links?: readonly { readonly trace_id: string; readonly span_id: string }[]
  readonly scope?: string
  readonly resource?: number
}

export interface RowOf {
  readonly span: Span
  readonly depth: number
  readonly children: number
  /** Shares of the trace's length. */
  readonly left: number
  readonly width: number
}

/** Parents before their children, children by their start; spans whose parent is missing stand at the top. */
export function rows(spans: readonly Span[], closed: ReadonlySet<string>): RowOf[] {
  const known = new Set(spans.map((span) => span.span_id))
  const children = new Map<string, Span[]>()
  for (const span of spans) {
    const parent = known.has(span.parent_id) && span.parent_id !== span.span_id ? span.parent_id : ''
    children.set(parent, [...(children.get(parent) ?? []), span])
  }
  const start = Math.min(...spans.map((span) => span.offset_ms))
  const end = Math.max(...spans.map((span) => span.offset_ms + span.duration_ms))
  const length = Math.max(end - start, 1e-6)
  const found: RowOf[] = []
  const placed = new Set<string>()
  const place = (span: Span, depth: number): void => {
    if (placed.has(span.span_id)) return
    placed.add(span.span_id)
    const below = children.get(span.span_id) ?? []
    found.push({ span, depth, children: below.length, left: (span.offset_ms - start) / length, width: span.duration_ms / length })
    if (!closed.has(span.span_id)) for (const one of inTime(below)) place(one, depth + 1)
    else hide(below)
  }
  const hide = (below: readonly Span[]): void => {
    for (const one of below) {
      if (placed.has(one.span_id)) continue
      placed.add(one.span_id)
      hide(children.get(one.span_id) ?? [])
    }
  }
  for (const span of inTime(children.get('') ?? [])) place(span, 0)
  // What goes round in a circle has no top; it is shown all the same.
  for (const span of spans) place(span, 0)
  return found
}

function inTime(spans: readonly Span[]): Span[] {
  return [...spans].sort((left, right) => left.offset_ms - right.offset_ms)
}

/** What a span took by itself, its children's time taken out; children may overlap. */
export function ownTime(span: Span, spans: readonly Span[]): number {
  const end = span.offset_ms + span.duration_ms
  const below = inTime(spans.filter((one) => one.parent_id === span.span_id && one !== span))
  let covered = 0
  let reached = span.offset_ms
  for (const one of below) {
    const from = Math.max(reached, one.offset_ms)
    const to = Math.min(end, one.offset_ms + one.duration_ms)
    if (to > from) {
      covered += to - from
      reached = to
    }
  }
  return Math.max(0, span.duration_ms - covered)
}

/** Any value of an attribute as one line. */
export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
