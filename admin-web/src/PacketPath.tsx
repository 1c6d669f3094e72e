import { Card } from '@nexavpn/ui';

import './PacketPath.css';

interface Step {
  at: string;
  does: string;
  /** What happens to a packet that may not go on. */
  stops?: string;
}

const STEPS: readonly Step[] = [
  { at: 'Device', does: 'Encrypts with a key that was made on it and never leaves it.' },
  {
    at: 'WireGuard',
    does: 'The inner source address must be one that belongs to this key.',
    stops: 'foreign source: dropped',
  },
  {
    at: 'eBPF on wg0',
    does: 'Looks up device, destination and port. Deny beats allow.',
    stops: 'no rule: dropped and counted',
  },
  {
    at: 'nftables guard',
    does: 'Lets on only what carries the program’s mark.',
    stops: 'no program, no mark: dropped',
  },
  { at: 'Internal network', does: 'Sees the gateway’s address. Replies return only on a live flow.' },
];

/** What a packet meets between a device and the internal network, and where it may end. */
export function PacketPath() {
  return (
    <Card title="The way of a packet">
      <ol className="way">
        {STEPS.map(({ at, does, stops }) => (
          <li key={at} className={stops ? 'way-step way-gate' : 'way-step'}>
            <div className="way-at">
              <h3>{at}</h3>
              {stops && <span className="way-stop">{stops}</span>}
            </div>
            <p>{does}</p>
          </li>
        ))}
      </ol>
    </Card>
  );
}
