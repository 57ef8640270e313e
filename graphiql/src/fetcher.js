import { getOperationAST, Kind, parse } from "graphql";
import { createClient } from "graphql-ws";
import { httpUrl, socketUrl } from "./config.js";
import { authorization, identity, refuse, SIGNED_IN } from "./identity.js";
import { needNewer } from "./signin.js";
import { clearEvents, recordEvent, say } from "./status.js";

const REQUEST_TIMEOUT_MS = 60_000;
const ACK_TIMEOUT_MS = 10_000;
const RETRIES = 4;
const REFUSED_CODES = new Set([4401, 4403]);

let socket = null;
let socketOwner;

export function fetcher(params, options = {}) {
  const headers = requestHeaders(options.headers);
  const { operation, payload } = settle(params);
  return operation === "subscription" ? listen(payload, headers) : post(payload, headers);
}

/** End the connection of whoever this tab was before. */
export function dropSocket() {
  socket?.dispose();
  socket = null;
}

function requestHeaders(typed) {
  const headers = new Headers(typed);
  if (!headers.has("authorization") && authorization()) headers.set("authorization", authorization());
  return headers;
}

// GraphiQL learns an operation's name a moment after it is typed, so a name that the document lacks is dropped.
function settle(params) {
  let document;
  try {
    document = parse(params.query);
  } catch {
    return { operation: "query", payload: { ...params, operationName: undefined } };
  }
  const names = document.definitions
    .filter((definition) => definition.kind === Kind.OPERATION_DEFINITION)
    .map((definition) => definition.name?.value);
  const operationName = names.includes(params.operationName) ? params.operationName : undefined;
  const operation = getOperationAST(document, operationName)?.operation;
  return { operation, payload: { ...params, operationName: operationName ?? undefined } };
}

async function post(payload, headers) {
  headers.set("content-type", "application/json");
  headers.set("accept", "application/graphql-response+json, application/json");
  const started = performance.now();
  const response = await send(payload, headers);
  const text = await response.text();
  let result;
  try {
    result = JSON.parse(text);
  } catch {
    say("error", `The server answered HTTP ${response.status} without a result.`);
    throw plainError(`HTTP ${response.status}: ${text.slice(0, 500) || "an empty answer"}`);
  }
  const milliseconds = Math.round(performance.now() - started);
  report(response, result, headers, `HTTP ${response.status} in ${milliseconds} ms.`);
  return result;
}

async function send(payload, headers) {
  try {
    return await fetch(httpUrl, {
      method: "POST",
      headers,
      body: JSON.stringify(payload),
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    });
  } catch (error) {
    const text = error.name === "TimeoutError" ? "The server did not answer in time." : "The server does not answer.";
    say("error", `${text} Is it running?`);
    throw plainError(text);
  }
}

function report(response, result, headers, summary) {
  const has = (code) => result.errors?.some((error) => error.extensions?.code === code);
  const unauthenticated = has("UNAUTHENTICATED");
  if (headers.has("authorization") && (response.status === 401 || unauthenticated)) refuse();
  else if (unauthenticated) say("info", "This operation needs somebody: choose a person, or paste an access token.");
  else if (has("STEP_UP_REQUIRED") && identity.get().person === SIGNED_IN && needNewer())
    say("error", "This takes a sign-in of the last minutes: sign in again, and then run it again.");
  else if (result.errors) say("error", result.errors[0]?.message ?? "The server answered with errors.");
  else if (!result.data?.__schema && identity.get().standing !== "refused") say("ok", summary);
}

// GraphiQL takes an observable; it unsubscribes when the stop button is pressed or the tab is left.
function listen(payload, headers) {
  return {
    subscribe(observer) {
      clearEvents();
      let stopped = false;
      const stop = clientFor(headers.get("authorization")).subscribe(payload, {
        next(result) {
          recordEvent(result);
          observer.next(result);
        },
        error(reason) {
          fail(reason, observer);
        },
        complete() {
          if (!stopped) say("info", "The server ended the subscription.");
          observer.complete();
        },
      });
      return {
        unsubscribe() {
          stopped = true;
          stop();
          say("info", "Subscription stopped.");
        },
      };
    },
  };
}

function clientFor(owner) {
  if (socket && socketOwner === owner) return socket;
  dropSocket();
  socketOwner = owner;
  socket = createClient({
    url: socketUrl,
    lazy: true,
    connectionAckWaitTimeout: ACK_TIMEOUT_MS,
    connectionParams: owner ? { authorization: owner } : undefined,
    retryAttempts: RETRIES,
    shouldRetry: (reason) => reason instanceof Event && !REFUSED_CODES.has(reason.code),
    on: {
      connecting: (isRetry) => say("info", isRetry ? "Connecting again …" : "Connecting …"),
      connected: () => say("ok", "Listening: each event is shown as it arrives."),
      closed: (event) => noteClosing(event),
    },
  });
  return socket;
}

function noteClosing(event) {
  if (REFUSED_CODES.has(event.code)) refuse();
  else if (event.code !== 1000) say("error", `The connection was lost (${event.code}).`);
}

function fail(reason, observer) {
  if (Array.isArray(reason)) {
    say("error", reason[0]?.message ?? "The subscription was refused.");
    observer.next({ errors: reason });
    observer.complete();
    return;
  }
  const text = reasonText(reason);
  if (REFUSED_CODES.has(reason.code)) refuse();
  else say("error", `${text}.`);
  observer.error(plainError(text));
}

function reasonText(reason) {
  if (reason instanceof CloseEvent) return `The socket closed with ${reason.code} ${reason.reason}`.trim();
  return reason instanceof Event ? "The socket could not be opened" : String(reason?.message ?? reason);
}

// GraphiQL shows all that an error has; where it was thrown in this page is no news for the reader.
function plainError(text) {
  const error = new Error(text);
  delete error.stack;
  return error;
}
