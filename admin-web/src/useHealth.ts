import { useCallback, useEffect, useState } from 'react';

import { probe } from './health';
import type { Health } from './health';

/** Pause between two probes, in milliseconds. */
export const PROBE_EVERY_MS = 5000;

/** The newest answer and when it came; `checking` while a probe is on its way. */
export interface Watched {
  health: Health | undefined;
  checkedAt: Date | undefined;
  checking: boolean;
  checkNow: () => void;
}

/** Probes the control API now and then every few seconds, but not while the page is hidden. */
export function useHealth(ask: () => Promise<Health> = probe): Watched {
  const [answer, setAnswer] = useState<{ health: Health; checkedAt: Date }>();
  const [asked, setAsked] = useState(0);
  const [answered, setAnswered] = useState(-1);

  useEffect(() => {
    let current = true;
    void ask().then((health) => {
      if (!current) return;
      setAnswer({ health, checkedAt: new Date() });
      setAnswered(asked);
    });
    return () => {
      current = false;
    };
  }, [ask, asked]);

  const checking = answered !== asked;
  const checkNow = useCallback(() => setAsked((count) => count + 1), []);

  useEffect(() => {
    if (checking) return;
    const timer = setTimeout(() => {
      if (!document.hidden) checkNow();
    }, PROBE_EVERY_MS);
    const onShown = () => {
      if (!document.hidden) checkNow();
    };
    document.addEventListener('visibilitychange', onShown);
    return () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onShown);
    };
  }, [checking, checkNow]);

  return { health: answer?.health, checkedAt: answer?.checkedAt, checking, checkNow };
}
