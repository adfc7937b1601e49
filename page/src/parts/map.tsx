/** Who calls whom, laid out in layers from callers to called by dagre. */

import { graphlib, layout } from '@dagrejs/dagre'
import type { Edge, Service } from '../api/gateway.ts'
import { milliseconds, percent, perSecond } from '../compute/format.ts'
import { href } from '../state/place.ts'
import { errorTone } from './small.tsx'
import { type Column, Table } from './table.tsx'

interface Box {
  readonly name: string
  readonly x: number
  readonly y: number
  readonly width: number
  readonly service: Service | undefined
}

interface Arrow {
  readonly edge: Edge
  readonly path: string
  readonly x: number
  readonly y: number
}

const HEIGHT = 46

export function arranged(edges: readonly Edge[], services: readonly Service[]): { boxes: Box[]; arrows: Arrow[]; width: number; height: number } {
  const graph = new graphlib.Graph({ multigraph: false })
  graph.setGraph({ rankdir: 'LR', nodesep: 22, ranksep: 92, marginx: 6, marginy: 6 })
  graph.setDefaultEdgeLabel(() => ({}))
  const known = new Map(services.map((service) => [service.service_name, service]))
  for (const name of new Set(edges.flatMap((edge) => [edge.client, edge.server])))
    graph.setNode(name, { width: Math.max(148, name.length * 7.2 + 24), height: HEIGHT })
  for (const edge of edges) graph.setEdge(edge.client, edge.server, {})
  layout(graph)
  const boxes = graph.nodes().map((name) => {
    const node = graph.node(name) as { x: number; y: number; width: number }
    return { name, x: node.x, y: node.y, width: node.width, service: known.get(name) }
  })
  const arrows = edges.map((edge) => arrow(edge, (graph.edge(edge.client, edge.server) as { points: { x: number; y: number }[] }).points))
  const size = graph.graph() as { width?: number; height?: number }
  return { boxes, arrows, width: size.width ?? 0, height: size.height ?? 0 }
}

function arrow(edge: Edge, points: readonly { x: number; y: number }[]): Arrow {
  const middle = points[Math.floor(points.length / 2)] ?? { x: 0, y: 0 }
  const path = points.map((point, index) => `${index ? 'L' : 'M'}${point.x.toFixed(1)} ${point.y.toFixed(1)}`).join('')
  return { edge, path, x: middle.x, y: middle.y }
}

const COLUMNS: readonly Column<Edge>[] = [
  { key: 'client', label: 'Caller', value: (edge) => edge.client },
  { key: 'server', label: 'Called', value: (edge) => edge.server },
  { key: 'rate', label: 'Rate', value: (edge) => edge.rate_per_s, cell: (edge) => perSecond(edge.rate_per_s), right: true },
  { key: 'errors', label: 'Failed', value: (edge) => edge.error_rate, cell: (edge) => percent(edge.error_rate), right: true },
  { key: 'p95', label: 'p95', value: (edge) => edge.p95_ms, cell: (edge) => milliseconds(edge.p95_ms), right: true },
]

export function ServiceGraph({ edges, services }: { edges: readonly Edge[]; services: readonly Service[] }) {
  const { boxes, arrows, width, height } = arranged(edges, services)
  return (
    <>
      <div class="map" tabIndex={0} role="region" aria-label="Service map">
        <svg width={width} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`${boxes.length} services, ${edges.length} kinds of calls`}>
          <defs>
            <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
              <path d="M0 0L8 4L0 8Z" fill="context-stroke" />
            </marker>
          </defs>
          {arrows.map(({ edge, path, x, y }) => (
            <g key={`${edge.client} ${edge.server}`}>
              <path class={`edge ${errorTone(edge.error_rate)}`} d={path} stroke-width={1 + Math.min(3, Math.log10(1 + (edge.rate_per_s ?? 0)))} marker-end="url(#tip)" />
              <text class="small" x={x} y={y - 6} text-anchor="middle">
                {perSecond(edge.rate_per_s)}
              </text>
            </g>
          ))}
          {boxes.map((box) => (
            <Node key={box.name} box={box} />
          ))}
        </svg>
      </div>
      <details>
        <summary class="muted">As a table</summary>
        <Table name="Calls between services" columns={COLUMNS} rows={edges} id={(edge) => `${edge.client} ${edge.server}`} start={{ key: 'rate', down: true }} />
      </details>
    </>
  )
}

function Node({ box }: { box: Box }) {
  const { service } = box
  const inside = (
    <>
      <rect x={box.x - box.width / 2} y={box.y - HEIGHT / 2} width={box.width} height={HEIGHT} rx="7" />
      <text x={box.x} y={box.y - 3} text-anchor="middle">
        {box.name}
      </text>
      <text class="small" x={box.x} y={box.y + 13} text-anchor="middle">
        {service ? `${percent(service.error_rate)} failed · ${milliseconds(service.p95_ms)}` : 'seen by its callers'}
      </text>
    </>
  )
  return service ? (
    <a class={`node ${errorTone(service.error_rate)}`} href={href(`service/${encodeURIComponent(box.name)}`)}>
      {inside}
    </a>
  ) : (
    <g class="node">{inside}</g>
  )
}
