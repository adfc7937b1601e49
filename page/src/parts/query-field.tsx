/** A field for PromQL: a plain one at once, the editor as soon as it is there. */

import { useEffect, useRef, useState } from 'preact/hooks'
import type { Editor } from './editor.ts'

interface Properties {
  readonly text: string
  readonly label: string
  readonly onChange: (text: string) => void
  readonly onRun: () => void
}

export function QueryField(properties: Properties) {
  const { text, label } = properties
  const host = useRef<HTMLDivElement>(null)
  const editor = useRef<Editor | null>(null)
  const newest = useRef(properties)
  newest.current = properties
  const [ready, setReady] = useState(false)
  useEffect(() => {
    let gone = false
    void import('./editor.ts').then(({ edit }) => {
      if (gone || !host.current) return
      editor.current = edit(host.current, {
        text: newest.current.text,
        label,
        onChange: (next) => newest.current.onChange(next),
        onRun: () => newest.current.onRun(),
      })
      setReady(true)
    })
    return () => {
      gone = true
      editor.current?.destroy()
    }
  }, [])
  useEffect(() => editor.current?.set(text), [text])
  return (
    <div class="editor">
      {!ready && (
        <textarea
          rows={1}
          value={text}
          aria-label={label}
          spellcheck={false}
          onInput={(event) => properties.onChange(event.currentTarget.value)}
          onKeyDown={(event) => event.key === 'Enter' && (event.ctrlKey || event.metaKey) && properties.onRun()}
        />
      )}
      <div ref={host} />
    </div>
  )
}
