import { useState } from "react";
import { config } from "./config.js";
import { ANONYMOUS, choosePerson, identity, OWN_TOKEN, SIGNED_IN, typeToken } from "./identity.js";
import { canSignIn, signIn, signin, signOut } from "./signin.js";
import { status } from "./status.js";
import { useStore } from "./store.js";

export function Bar() {
  return (
    <header id="kith-bar">
      <h1>
        Kith <span>GraphQL explorer</span>
      </h1>
      {config.people.length > 0 && <PersonField />}
      <TokenField />
      {canSignIn && <SignInButton />}
      <Who />
    </header>
  );
}

function SignInButton() {
  const { accessToken, busy, dated } = useStore(signin);
  const isIn = accessToken !== null && !dated;
  return (
    <div className="kith-field">
      <button type="button" id="kith-sign-in" disabled={busy} onClick={isIn ? signOut : signIn}>
        {isIn ? "Sign out" : dated ? "Sign in again" : "Sign in"}
      </button>
    </div>
  );
}

function PersonField() {
  const { person } = useStore(identity);
  const { accessToken } = useStore(signin);
  return (
    <div className="kith-field">
      <label htmlFor="kith-person">Person</label>
      <select id="kith-person" data-testid="kith-person" value={person} onChange={(event) => choosePerson(event.target.value)}>
        <option value={ANONYMOUS}>anonymous</option>
        {config.people.map(({ name, about }) => (
          <option key={name} value={name}>
            {about ? `${name} – ${about}` : name}
          </option>
        ))}
        {person === OWN_TOKEN && <option value={OWN_TOKEN}>own token</option>}
        {(accessToken !== null || person === SIGNED_IN) && <option value={SIGNED_IN}>signed in</option>}
      </select>
    </div>
  );
}

function TokenField() {
  const { token, standing } = useStore(identity);
  const [shown, setShown] = useState(false);
  return (
    <div className="kith-field kith-grows">
      <label htmlFor="kith-token">Access token</label>
      <input
        id="kith-token"
        data-testid="kith-token"
        className={shown ? "" : "kith-masked"}
        type="text"
        value={token}
        placeholder="none: anonymous"
        autoComplete="off"
        autoCapitalize="off"
        spellCheck={false}
        aria-invalid={standing === "refused"}
        aria-describedby="kith-status-text"
        onChange={(event) => typeToken(event.target.value.trim())}
      />
      <button type="button" id="kith-token-toggle" aria-pressed={shown} aria-label="Show the token" onClick={() => setShown(!shown)}>
        {shown ? "Hide" : "Show"}
      </button>
    </div>
  );
}

function Who() {
  const { standing, username } = useStore(identity);
  const texts = {
    anonymous: "anonymous",
    checking: "…",
    accepted: username,
    refused: "nobody: token refused",
    unknown: "unknown: no answer",
  };
  return (
    <p id="kith-who" data-testid="kith-who" data-standing={standing}>
      You are <strong>{texts[standing]}</strong>
    </p>
  );
}

export function StatusLine() {
  const { kind, text, events } = useStore(status);
  return (
    <footer id="kith-status" data-testid="kith-status" data-kind={kind}>
      <p id="kith-status-text" role="status">
        {text}
      </p>
      {events.length > 0 && <Events events={events} />}
    </footer>
  );
}

function Events({ events }) {
  return (
    <details id="kith-events" data-testid="kith-events" data-count={events.length}>
      <summary>{events.length === 1 ? "1 event" : `${events.length} events`}</summary>
      <ol reversed>
        {events.toReversed().map(({ at, text }, index) => (
          <li key={events.length - index}>
            <time dateTime={at.toISOString()}>{at.toLocaleTimeString()}</time> <code>{text}</code>
          </li>
        ))}
      </ol>
    </details>
  );
}
