import { defineConfig } from 'vite'

// What a developer's gateway listens on; `scripts/page dev` sends the page's questions there.
const gateway = process.env['MIRUBATO_URL'] ?? 'http://127.0.0.1:4319'

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../src/mirubato/web/built',
    emptyOutDir: true,
    target: 'es2022',
    // The policy forbids inline scripts, and data: URLs for anything but images.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 600,
    manifest: '.manifest.json',
  },
  server: { proxy: { '/api': gateway, '/-': gateway } },
})
