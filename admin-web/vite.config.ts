import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** What the page is held to. Whoever serves `dist` sends this header; `vite preview` does too. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

// NEXA_CONTROL_URL: the control API that `npm run dev` and `npm run preview` pass requests on to.
const control = process.env.NEXA_CONTROL_URL ?? 'http://127.0.0.1:8080';
const proxy = { '/api': control, '/healthz': control, '/readyz': control };

export default defineConfig({
  // Relative, so that the same files work under `/` and under `/admin/`.
  base: './',
  plugins: [react()],
  build: {
    // Small files become data: URLs otherwise, which the policy above refuses.
    assetsInlineLimit: 0,
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
  },
  server: { host: '127.0.0.1', proxy },
  preview: { host: '127.0.0.1', proxy, headers: { 'Content-Security-Policy': CONTENT_SECURITY_POLICY } },
});
