import { Card, Status } from '@nexavpn/ui';
import type { Tone } from '@nexavpn/ui';

import { version } from '../package.json';
import { PARTS } from './roadmap';
import type { Part } from './roadmap';
import './Parts.css';

/** What of NexaVPN is built and what is not, side by side. */
export function Parts() {
  return (
    <Card title="What is built" aside={<span className="parts-of">As of version {version}</span>}>
      <div className="parts">
        <Group tone="good" label="Built" parts={PARTS.filter((part) => part.built)} />
        <Group tone="idle" label="Planned" parts={PARTS.filter((part) => !part.built)} />
      </div>
    </Card>
  );
}

function Group({ tone, label, parts }: { tone: Tone; label: string; parts: readonly Part[] }) {
  return (
    <section className="parts-group" aria-label={label}>
      <div className="parts-head">
        <Status tone={tone}>{label}</Status>
        <span>{parts.length}</span>
      </div>
      <dl>
        {parts.map(({ name, what }) => (
          <div key={name} className="parts-row">
            <dt>{name}</dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
