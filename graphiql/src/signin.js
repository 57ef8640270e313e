import { config } from "./config.js";
import { say } from "./status.js";
import { createStore } from "./store.js";

// Authorization code with PKCE, all in the page. Tokens are in this tab's memory alone; what outlives a redirect is the
// verifier, and whether somebody is to be signed in again after a reload (the auth service's cookie knows who).
const PENDING = "kith.signin.pending";
const RESUME = "kith.signin.resume";
const RENEW_BEFORE_MS = 60_000;
const RETRY_MS = 5_000;
const TIMEOUT_MS = 15_000;

const { issuer, client, scope } = config.identity ?? {};
const redirectUri = location.origin + config.endpoint;
let refreshToken;
let timer;

// accessToken: null while nobody is signed in; busy: an answer of the auth service is awaited; dated: something was
// refused because the sign-in is too old for it.
export const signin = createStore({ accessToken: null, busy: false, dated: false });

// Without a secure context there is no SHA-256 for the code challenge.
export const canSignIn = Boolean(issuer && globalThis.crypto?.subtle);

/** Leave for the auth service's sign-in page; whoever signed out here before is asked who it is. */
export async function signIn() {
  if (signin.get().dated) await leave({ prompt: "login" });
  else await leave(sessionStorage.getItem(RESUME) === "asking" ? { prompt: "select_account" } : {});
}

/** Note that something takes a newer sign-in; false where nobody is signed in. */
export function needNewer() {
  if (refreshToken) signin.set({ dated: true });
  return Boolean(refreshToken);
}

/** End the tokens, here and at the auth service. */
export async function signOut() {
  const token = refreshToken;
  forget();
  sessionStorage.setItem(RESUME, "asking");
  try {
    await post("/revoke", { token });
  } catch {
    say("error", "The auth service does not answer: the sign-in ends by itself.");
  }
}

/** Take up what a redirect brought, or sign in again after a reload; true while the page is being left. */
export async function resume(wasSignedIn) {
  if (!canSignIn) return false;
  const pending = takePending();
  const answer = new URLSearchParams(location.search);
  if (answer.has("state")) {
    history.replaceState(null, "", redirectUri);
    if (pending && pending.state === answer.get("state") && answer.get("iss") === issuer) await finish(answer, pending);
    else say("error", "This sign-in was not begun in this tab: begin again.");
    return false;
  }
  if (!wasSignedIn || sessionStorage.getItem(RESUME) !== "signed in") return false;
  sessionStorage.removeItem(RESUME);
  await leave({ prompt: "none" });
  return true;
}

/** Get new tokens now; false where the sign-in has ended. */
export async function renew() {
  if (!refreshToken) return false;
  try {
    const { status, body } = await post("/token", { grant_type: "refresh_token", refresh_token: refreshToken });
    if (status === 200) keep(body);
    else if (status === 400 || status === 401) end();
    else later(RETRY_MS);
  } catch {
    later(RETRY_MS);
  }
  return Boolean(refreshToken);
}

async function leave(extra) {
  const verifier = randomText();
  const state = randomText();
  sessionStorage.setItem(PENDING, JSON.stringify({ verifier, state, silent: extra.prompt === "none" }));
  const asked = {
    response_type: "code",
    client_id: client,
    redirect_uri: redirectUri,
    scope,
    state,
    code_challenge: await challengeOf(verifier),
    code_challenge_method: "S256",
    ...extra,
  };
  location.assign(`${issuer}/authorize?${new URLSearchParams(asked)}`);
}

async function finish(answer, { verifier, silent }) {
  if (!answer.has("code")) {
    if (!silent) say("error", "You were not signed in.");
    return;
  }
  signin.set({ busy: true });
  try {
    const exchange = { grant_type: "authorization_code", code: answer.get("code"), redirect_uri: redirectUri };
    const { status, body } = await post("/token", { ...exchange, code_verifier: verifier });
    if (status === 200) keep(body);
    else say("error", "The auth service refused this sign-in: begin again.");
  } catch {
    say("error", "The auth service does not answer: is it running?");
  } finally {
    signin.set({ busy: false });
  }
}

function keep({ access_token: accessToken, refresh_token: next, expires_in: seconds }) {
  refreshToken = next;
  sessionStorage.setItem(RESUME, "signed in");
  signin.set({ accessToken });
  later(Math.max(seconds * 1000 - RENEW_BEFORE_MS, RETRY_MS));
}

function later(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(renew, milliseconds);
}

function end() {
  forget();
  say("error", "Your sign-in has ended: sign in again.");
}

function forget() {
  clearTimeout(timer);
  refreshToken = undefined;
  sessionStorage.removeItem(RESUME);
  signin.set({ accessToken: null, dated: false });
}

function takePending() {
  try {
    return JSON.parse(sessionStorage.getItem(PENDING));
  } catch {
    return null;
  } finally {
    sessionStorage.removeItem(PENDING);
  }
}

async function post(path, fields) {
  const response = await fetch(issuer + path, {
    method: "POST",
    body: new URLSearchParams({ client_id: client, ...fields }),
    credentials: "omit",
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  return { status: response.status, body: await response.json() };
}

const randomText = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const challengeOf = async (verifier) =>
  base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replace(/[+/=]/g, (c) => ({ "+": "-", "/": "_" })[c] ?? "");
