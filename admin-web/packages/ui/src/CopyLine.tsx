import { useEffect, useState } from 'react';

import { Button } from './Button';
import './CopyLine.css';

const SAID_FOR_MS = 2000;

/** A command on one line, with a button that copies it. Where copying is refused, it says how to do it by hand. */
export function CopyLine({ text, label }: { text: string; label: string }) {
  const [said, setSaid] = useState<string>();

  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(undefined), SAID_FOR_MS);
    return () => clearTimeout(timer);
  }, [said]);

  const copy = () => {
    // Absent outside https and loopback.
    const clipboard: Clipboard | undefined = navigator.clipboard;
    if (!clipboard) return setSaid('Select and copy');
    clipboard.writeText(text).then(
      () => setSaid('Copied'),
      () => setSaid('Select and copy'),
    );
  };

  return (
    <div className="nx-copy">
      <code tabIndex={0}>{text}</code>
      <Button emphasis="quiet" onClick={copy} aria-label={`Copy ${label}`}>
        <span role="status">{said ?? 'Copy'}</span>
      </Button>
    </div>
  );
}
