import { Button, Card, CopyLine, LinkButton, Status } from '@nexavpn/ui';
import type { Tone } from '@nexavpn/ui';

import { ALIVE, READY } from './health';
import type { Health } from './health';
import { useHealth } from './useHealth';
import './ControlApi.css';

interface Told {
  tone: Tone;
  label: string;
  /** What it means and, where something is wrong, what to do. */
  meaning: string;
}

/** The words for a probe's result. */
export function tell(health: Health | undefined): Told {
  switch (health?.kind) {
    case undefined:
      return {
        tone: 'busy',
        label: 'Checking',
        meaning: 'Asking the control API of this address how it is.',
      };
    case 'ready':
      return { tone: 'good', label: 'Reachable', meaning: 'It answers, and its database does too.' };
    case 'unready':
      return {
        tone: 'warn',
        label: 'Not ready',
        meaning:
          health.detail ??
          `It answers with status ${health.status}. Most often its database is down: see the log of nexa-control.`,
      };
    case 'foreign':
      return {
        tone: 'warn',
        label: 'Not found here',
        meaning:
          'Something else answers at this address. Open the console at the address that nexa-control listens on.',
      };
    case 'unreachable':
      return {
        tone: 'bad',
        label: 'Unreachable',
        meaning:
          health.cause === 'timeout'
            ? 'It did not answer in time. Gateways keep serving their last policy meanwhile.'
            : 'Nothing answers. Start nexa-control; gateways keep serving their last policy meanwhile.',
      };
  }
}

/** Whether the control API of this origin can be reached, live, and where to go from here. */
export function ControlApi({ ask }: { ask?: () => Promise<Health> }) {
  const { health, checkedAt, checking, checkNow } = useHealth(ask);
  const { tone, label, meaning } = tell(health);

  return (
    <Card title="Control API" aside={<Status tone={tone}>{label}</Status>}>
      <p className="api-meaning" role="status">
        {meaning}
      </p>
      <dl className="api-facts">
        <dt>Address</dt>
        <dd>
          <code>{window.location.origin}</code>
        </dd>
        <dt>Probes</dt>
        <dd>
          <code>{ALIVE}</code> <code>{READY}</code>
        </dd>
        <dt>Round trip</dt>
        <dd>{health?.kind === 'ready' ? `${health.roundTripMs} ms` : '–'}</dd>
        <dt>Checked</dt>
        <dd className="api-checked">
          {checkedAt ? checkedAt.toLocaleTimeString() : '–'}
          <Button emphasis="quiet" onClick={checkNow} disabled={checking}>
            Check now
          </Button>
        </dd>
      </dl>
      <div className="api-next">
        <LinkButton emphasis="primary" href="/api/docs">
          Open the API’s documentation
        </LinkButton>
        <LinkButton href="/api/openapi.json">OpenAPI document</LinkButton>
      </div>
      <CopyLine label="the command" text={`nexactl status --server ${window.location.origin}`} />
    </Card>
  );
}
