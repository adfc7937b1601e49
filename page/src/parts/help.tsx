import { signal } from '@preact/signals'
import { Dialog } from './dialog.tsx'

export const helpOpen = signal(false)

const KEYS: readonly [string, string][] = [
  ['g o', 'Overview'],
  ['g e', 'Explore'],
  ['g t', 'Traces'],
  ['g a', 'Alerts'],
  ['g c', 'Costs'],
  ['g s', 'System'],
  ['/', 'To the search of this screen'],
  ['[  ]', 'Earlier, later'],
  ['−  +', 'A longer, a shorter range'],
  ['r', 'Look again now'],
  ['t', 'Dark or light'],
  ['Ctrl Enter', 'Run the queries of Explore'],
  ['?', 'This list'],
]

export function Help() {
  return (
    <Dialog title="Keys" onClose={() => (helpOpen.value = false)}>
      <dl class="pairs">
        {KEYS.map(([key, what]) => (
          <>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </>
        ))}
      </dl>
      <p class="muted">Drag across a chart to zoom in. Click a name in its legend to see only that line.</p>
    </Dialog>
  )
}
