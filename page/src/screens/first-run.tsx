/** Waiting for the first request: what to paste, and what came, with the fix for what was refused. */

import { useEffect, useState } from 'preact/hooks'
import { inbox } from '../api/gateway.ts'
import { send } from '../api/http.ts'
import { onlyHere, snippets } from '../compute/snippets.ts'
import { Inbox } from '../parts/inbox.tsx'
import { Card, Copy } from '../parts/small.tsx'
import { Empty, Shown } from '../parts/states.tsx'
import { refresh, tick } from '../state/live.ts'
import { useLoad } from '../state/load.ts'

export function FirstRun() {
  return (
    <div class="screen">
      <div class="hello">
        <h2>Waiting for the first request</h2>
        <p class="listening" role="status">
          <span class="dot live" aria-hidden="true" />
          Listening at <code>{location.origin}</code>. This page turns live by itself when data comes.
        </p>
      </div>
      <Snippets />
      <Received />
    </div>
  )
}

/** The same blocks, for the next app. */
export function Connect() {
  return (
    <div class="screen">
      <Snippets />
      <Received />
    </div>
  )
}

function Snippets() {
  const [key, setKey] = useState('')
  return (
    <>
      <div class="columns three">
        {snippets(location.origin, key).map((snippet) => (
          <Card key={snippet.title} title={snippet.title} actions={<Copy text={snippet.text} />}>
            <pre class="block" tabIndex={0} aria-label={snippet.title}>
              {snippet.text}
            </pre>
            <p class="muted">{snippet.note}</p>
            {snippet.title.startsWith('Cloudflare') && onlyHere(location.hostname) && (
              <p class="notice warn">
                Cloudflare does not reach {location.hostname}. Serve the gateway under a public name, or try with a tunnel (cloudflared).
              </p>
            )}
          </Card>
        ))}
      </div>
      <Key onKey={setKey} has={Boolean(key)} />
    </>
  )
}

function Key({ onKey, has }: { onKey: (key: string) => void; has: boolean }) {
  const [said, setSaid] = useState('')
  if (has) return <p class="notice good">The blocks above hold a new key that may only send. It is shown this once: copy it now.</p>
  const make = async (): Promise<void> => {
    try {
      const made = await send<{ token?: string; secret?: string }>('POST', 'api/tokens', { name: 'from the page', scopes: ['ingest'], scope: 'ingest' })
      onKey(made.token ?? made.secret ?? '')
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <div class="row">
      <button type="button" onClick={make}>
        Put a key that may only send into the blocks
      </button>
      <span class="muted" role="status">
        {said || 'Needed once the gateway has tokens.'}
      </span>
    </div>
  )
}

/** Each tick of the gateway, 2 s: someone looks at the screen and waits for just this. */
function useEveryTick(): void {
  const at = tick.value?.now_ms
  useEffect(() => {
    if (at) refresh()
  }, [at])
}

function Received() {
  useEveryTick()
  const loaded = useLoad('inbox', inbox)
  return (
    <Card title="What came, and what became of it">
      <Shown loaded={loaded} what="inbox" absent="Rejections are in the reply to the sender and in the gateway's log.">
        {(requests) =>
          requests.length ? <Inbox requests={requests} /> : <Empty title="Nothing yet">Requests show up here as they come, refused ones with the fix.</Empty>
        }
      </Shown>
    </Card>
  )
}
