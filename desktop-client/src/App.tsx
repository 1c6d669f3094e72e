import { Logo, Status, ThemeSwitch } from '@nexavpn/ui';

import './App.css';

/** The steps that the window will lead through, in order. */
export const STEPS = [
  'Choose your organisation’s server',
  'Sign in',
  'A key is made on this computer, and only its public half is enrolled',
  'Connect: WireGuard, routes and DNS are set by a separate service',
  'Reach what is granted to you, by address and by name',
] as const;

/** The window's place: it connects to nothing yet and says so. */
export function App() {
  return (
    <div className="window">
      <header>
        <Logo size={24} />
        <span className="window-name">NexaVPN</span>
        <ThemeSwitch />
      </header>
      <main>
        <Status tone="idle">Not built yet</Status>
        <h1>This window cannot connect yet</h1>
        <p>
          Until it can, import the configuration that the control API hands out for your device into any
          WireGuard app.
        </p>
        <h2>What it will do</h2>
        <ol>
          {STEPS.map((step) => (
            <li key={step}>{step}</li>
          ))}
        </ol>
      </main>
    </div>
  );
}
