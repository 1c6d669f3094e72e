import { describe, expect, test } from 'vitest';

import { probe, READY } from '../src/health';

type Answers = (path: string) => Response;

const serving =
  (answers: Answers): typeof fetch =>
  async (input) =>
    answers(String(input));

const failing = (error: Error) =>
  serving(() => {
    throw error;
  });

const ok = () => new Response('ok', { headers: { 'content-type': 'text/plain' } });
const problem = (status: number, body: unknown) =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/problem+json' } });

describe('probe', () => {
  test('reports the round trip of the first question when both answer', async () => {
    const ticks = [100, 112.4];
    expect(await probe(serving(ok), () => ticks.shift() ?? NaN)).toEqual({ kind: 'ready', roundTripMs: 12 });
  });

  test('tells alive but not ready apart, with the reason of the problem document', async () => {
    const detail = 'Postgres does not answer; start it.';
    const answers: Answers = (path) => (path === READY ? problem(503, { title: 'Not ready', detail }) : ok());
    expect(await probe(serving(answers))).toEqual({ kind: 'unready', status: 503, detail });
  });

  test.each([[null], ['text'], [{}], [{ detail: 7 }]])(
    'survives the malformed problem document %j',
    async (body) => {
      expect(await probe(serving(() => problem(500, body)))).toEqual({ kind: 'unready', status: 500 });
    },
  );

  test('does not take a page of another server for the control API', async () => {
    const page = () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } });
    expect(await probe(serving(page))).toEqual({ kind: 'foreign', status: 200 });
    expect(await probe(serving(() => new Response('', { status: 404 })))).toEqual({
      kind: 'foreign',
      status: 404,
    });
  });

  test('takes a proxy that cannot reach the control API for no answer', async () => {
    const page = (status: number) => () =>
      new Response('<h1>Bad gateway</h1>', { status, headers: { 'content-type': 'text/html' } });
    expect(await probe(serving(page(502)))).toEqual({ kind: 'unreachable', cause: 'refused' });
    expect(await probe(serving(page(504)))).toEqual({ kind: 'unreachable', cause: 'timeout' });
  });

  test('tells a refused connection from an answer that never came', async () => {
    const refused = new TypeError('fetch failed');
    const timeout = new DOMException('timed out', 'TimeoutError');
    expect(await probe(failing(refused))).toEqual({ kind: 'unreachable', cause: 'refused' });
    expect(await probe(failing(timeout))).toEqual({ kind: 'unreachable', cause: 'timeout' });
  });
});
