import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import type { Rolldown } from 'vite';
import { beforeAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

let files: Rolldown.RolldownOutput['output'];

beforeAll(async () => {
  const made = await build({ root, logLevel: 'error', build: { write: false } });
  if (!('output' in made)) throw new Error('the build made no single output');
  files = made.output;
}, 60_000);

const text = (name: RegExp) =>
  files
    .filter((file) => name.test(file.fileName))
    .map((file) => String(file.type === 'chunk' ? file.code : file.source))
    .join('\n');

test('the built page holds no inline script, style or handler, which its policy refuses', () => {
  const page = new DOMParserLike(text(/index\.html$/));
  expect(page.tags('script').every((tag) => /\bsrc="\.\//.test(tag))).toBe(true);
  expect(page.tags('style')).toEqual([]);
  expect(page.html).not.toMatch(/\s(on\w+|style)=/);
});

test('the built styles load nothing from elsewhere and embed no data', () => {
  const css = text(/\.css$/);
  expect(css).toContain('@font-face');
  expect(css).not.toMatch(/@import|url\(["']?(https?:|\/\/|data:)/);
});

/** Enough of a parser for a page that we write ourselves. */
class DOMParserLike {
  constructor(readonly html: string) {}

  tags(name: string) {
    return this.html.match(new RegExp(`<${name}\\b[^>]*>`, 'g')) ?? [];
  }
}
