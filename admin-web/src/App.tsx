import { Logo, ThemeSwitch } from '@nexavpn/ui';

import { version } from '../package.json';
import { ControlApi } from './ControlApi';
import { PacketPath } from './PacketPath';
import { Parts } from './Parts';
import './App.css';

/** The one page there is: what this place will be, and what can be seen of the installation today. */
export function App() {
  return (
    <>
      <header className="top">
        <div className="top-inner">
          <Logo />
          <span className="top-name">NexaVPN</span>
          <span className="top-place">Console</span>
          <ThemeSwitch />
        </div>
      </header>
      <main className="page">
        <div className="intro">
          <h1>The console is not built yet</h1>
          <p>
            This is its place. The network behind it is real: the control API, the policy compiler and a
            gateway that decides every packet in eBPF. Until the console arrives, you manage them through the
            API.
          </p>
        </div>
        <div className="columns">
          <ControlApi />
          <PacketPath />
        </div>
        <Parts />
      </main>
      <footer className="foot">
        <span>NexaVPN {version}, Apache-2.0</span>
        <span>WireGuard is a registered trademark of Jason A. Donenfeld.</span>
      </footer>
    </>
  );
}
