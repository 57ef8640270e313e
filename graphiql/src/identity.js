import { config, httpUrl, personNamed } from "./config.js";
import { renew, signin } from "./signin.js";
import { clearEvents, say } from "./status.js";
import { createStore } from "./store.js";

export const ANONYMOUS = "";
export const OWN_TOKEN = "*";
export const SIGNED_IN = "@";

const KEY = "kith.identity";
const CHECK_DELAY_MS = 400;
const CHECK_TIMEOUT_MS = 15_000;
let checkTimer;

export const wasSignedIn = readStored()?.person === SIGNED_IN;

// standing: "anonymous", "checking", "accepted", "refused" or "unknown" (the server does not answer).
export const identity = createStore({ ...remembered(), standing: "checking", username: null });

export const authorization = () => (identity.get().token ? `Bearer ${identity.get().token}` : undefined);

export function choosePerson(name) {
  if (name === SIGNED_IN) become({ person: SIGNED_IN, token: signin.get().accessToken ?? "" });
  else become({ person: name, token: personNamed(name)?.token ?? "" });
}

// Whoever signs in is that person from then on; a renewed token is taken over without a word, a sign-out makes anonymous.
let known = null;
signin.subscribe(() => {
  const { accessToken } = signin.get();
  if (accessToken === known) return;
  const renewed = known !== null && accessToken !== null;
  known = accessToken;
  if (renewed && identity.get().person === SIGNED_IN) identity.set({ token: accessToken });
  else if (!renewed && accessToken !== null) choosePerson(SIGNED_IN);
  else if (accessToken === null && identity.get().person === SIGNED_IN) choosePerson(ANONYMOUS);
});

export function typeToken(token) {
  const person = config.people.find((candidate) => candidate.token === token);
  become({ person: token ? (person?.name ?? OWN_TOKEN) : ANONYMOUS, token });
}

export function refuse() {
  identity.set({ standing: "refused", username: null });
  if (identity.get().person === SIGNED_IN) {
    renew().then((goesOn) => goesOn && identity.get().person === SIGNED_IN && checkIdentity());
    return;
  }
  const name = personNamed(identity.get().person)?.name ?? "NAME";
  say("error", `This token is not accepted or expired: run \`make run\` again or \`python -m auth.token ${name}\`.`);
}

export function checkIdentity() {
  clearTimeout(checkTimer);
  if (!identity.get().token) {
    identity.set({ standing: "anonymous", username: null });
    say("info", "You are anonymous: choose a person, sign in, or paste an access token.");
    return;
  }
  identity.set({ standing: "checking", username: null });
  checkTimer = setTimeout(askWhoIAm, CHECK_DELAY_MS);
}

function become({ person, token }) {
  sessionStorage.setItem(KEY, JSON.stringify({ person, token: person === OWN_TOKEN ? token : "" }));
  identity.set({ person, token });
  clearEvents();
  checkIdentity();
}

// A named person's token comes from the page, because the one remembered may be from before a restart.
function remembered() {
  const stored = readStored();
  if (stored?.person === OWN_TOKEN) return stored;
  if (stored?.person === ANONYMOUS || stored?.person === SIGNED_IN) return { person: ANONYMOUS, token: "" };
  const person = personNamed(stored?.person) ?? firstGuest();
  return { person: person?.name ?? ANONYMOUS, token: person?.token ?? "" };
}

function readStored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

// The sample operations act on the first person, so a new tab starts as the second.
function firstGuest() {
  return config.people[1] ?? config.people[0];
}

async function askWhoIAm() {
  const { token } = identity.get();
  const outcome = await fetchUsername(token);
  if (identity.get().token !== token) return;
  if (outcome.standing === "refused") {
    refuse();
    return;
  }
  identity.set(outcome);
  if (outcome.standing === "accepted") say("ok", `You are ${outcome.username}.`);
  else say("error", "The server does not say who you are: is it running?");
}

async function fetchUsername(token) {
  try {
    const response = await fetch(httpUrl, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: "query WhoAmI { me { username } }" }),
      credentials: "omit",
      signal: AbortSignal.timeout(CHECK_TIMEOUT_MS),
    });
    const { data, errors } = response.status === 401 ? {} : await response.json();
    if (response.status === 401 || errors?.some((error) => error.extensions?.code === "UNAUTHENTICATED")) {
      return { standing: "refused" };
    }
    if (data?.me === null && !errors) return { standing: "refused" };
    return data?.me ? { standing: "accepted", username: data.me.username } : { standing: "unknown" };
  } catch {
    return { standing: "unknown" };
  }
}
