import { render } from 'preact'
import { App } from './app.tsx'
import { startLive } from './state/live.ts'
import './style.css'

const root = document.getElementById('page')
if (root) {
  root.textContent = ''
  render(<App />, root)
  startLive()
}
