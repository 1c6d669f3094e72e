import type { ReactNode } from 'react';

import './Status.css';

/** What a status means. Colour never carries it alone: the label says it too. */
export type Tone = 'good' | 'warn' | 'bad' | 'idle' | 'busy';

/** A short state in a pill, such as “reachable” or “planned”. */
export function Status({ tone, children }: { tone: Tone; children: ReactNode }) {
  return (
    <span className={`nx-status nx-status-${tone}`}>
      <span className="nx-status-mark" aria-hidden="true" />
      {children}
    </span>
  );
}
