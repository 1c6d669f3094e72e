/** What one probe of the control API found. */
export type Health =
  /** It answers and is ready to serve; `roundTripMs` as this browser saw it. */
  | { kind: 'ready'; roundTripMs: number }
  /** The process answers but says that it cannot serve, with its reason where it gives one. */
  | { kind: 'unready'; status: number; detail?: string }
  /** Something answers at this address, but not the control API. */
  | { kind: 'foreign'; status: number }
  /** Nothing answers. */
  | { kind: 'unreachable'; cause: 'refused' | 'timeout' };

/** How long a probe waits for an answer, in milliseconds. */
export const PROBE_TIMEOUT_MS = 4000;

/** The two questions: is the process alive, and can it serve (which includes its database). */
export const ALIVE = '/healthz';
export const READY = '/readyz';

/**
 * Asks the control API of this origin how it is. Never throws: every failure is a `Health`.
 *
 * @param request `fetch`, or what stands in for it.
 * @param now a clock in milliseconds.
 */
export async function probe(
  request: typeof fetch = fetch,
  now: () => number = () => performance.now(),
): Promise<Health> {
  const started = now();
  try {
    const alive = await ask(request, ALIVE);
    const roundTripMs = Math.max(1, Math.round(now() - started));
    if (isGatewayError(alive)) {
      return { kind: 'unreachable', cause: alive.status === 504 ? 'timeout' : 'refused' };
    }
    if (isForeign(alive)) return { kind: 'foreign', status: alive.status };
    if (!alive.ok) return unready(alive);
    const ready = await ask(request, READY);
    return ready.ok ? { kind: 'ready', roundTripMs } : unready(ready);
  } catch (error) {
    const timeout = error instanceof DOMException && error.name === 'TimeoutError';
    return { kind: 'unreachable', cause: timeout ? 'timeout' : 'refused' };
  }
}

function ask(request: typeof fetch, path: string) {
  return request(path, { cache: 'no-store', signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
}

// What a reverse proxy says of a control API that it cannot reach; the control API itself never answers so.
function isGatewayError(response: Response) {
  return response.status === 502 || response.status === 504;
}

// Servers of single-page apps answer every path with their page, and proxies with a page of their own.
function isForeign(response: Response) {
  const type = response.headers.get('content-type') ?? '';
  return type.startsWith('text/html') || response.status === 404;
}

async function unready(response: Response): Promise<Health> {
  const detail = await problemDetail(response);
  return { kind: 'unready', status: response.status, ...(detail ? { detail } : {}) };
}

async function problemDetail(response: Response): Promise<string | undefined> {
  if (!response.headers.get('content-type')?.startsWith('application/problem+json')) return undefined;
  const body: unknown = await response.json().catch(() => undefined);
  if (typeof body !== 'object' || body === null || !('detail' in body)) return undefined;
  return typeof body.detail === 'string' ? body.detail : undefined;
}
