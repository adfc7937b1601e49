/** The way in, when the gateway has tokens. */

import { useState } from 'preact/hooks'
import { locked, send } from '../api/http.ts'
import { refresh } from '../state/live.ts'

export function Login() {
  const [token, setToken] = useState('')
  const [wrong, setWrong] = useState('')
  const enter = async (event: Event): Promise<void> => {
    event.preventDefault()
    try {
      await send('POST', 'api/login', { token: token.trim() })
      locked.value = false
      refresh()
    } catch (error) {
      setWrong(error instanceof Error ? error.message : String(error))
    }
  }
  return (
    <main class="login card">
      <h1>Mirubato Monitoring</h1>
      <p class="muted">This gateway asks who you are. A token that may read comes from `mirubato token create`.</p>
      <form onSubmit={enter} style={{ display: 'grid', gap: '10px' }}>
        <label class="field">
          Token
          <input type="password" autocomplete="current-password" required value={token} onInput={(event) => setToken(event.currentTarget.value)} />
        </label>
        {wrong && (
          <div class="notice bad" role="alert">
            {wrong}
          </div>
        )}
        <button type="submit" class="primary">
          Enter
        </button>
      </form>
    </main>
  )
}
