// The page where the explorer was not built: GraphiQL from a CDN, or a plain form where the CDN cannot be reached.
"use strict";

const config = JSON.parse(document.getElementById("kith-config").textContent);
const httpUrl = new URL(config.endpoint, location.href).href;
const KEY = "kith.fallback.token";
const REFUSED_CODES = [4401, 4403];
const REFUSED = "This token is not accepted or expired: run `make run` again or `python -m auth.token NAME`.";
const WHO_AM_I = "query WhoAmI {\n  me {\n    id\n    username\n    displayName\n    followersCount\n    followingCount\n  }\n}\n";
const LIVE = "subscription LiveFollows {\n  followReceived {\n    id\n    cursor\n    createdAt\n    actor {\n      username\n      displayName\n    }\n  }\n}\n";

const page = document.getElementById("kith");
const token = make("input", { id: "kith-token", className: "kith-masked", autocomplete: "off", spellcheck: false });
const person = make("select", { id: "kith-person" });
const main = make("main", { id: "kith-main" });
const statusLine = make("p", { id: "kith-status" });
let socket = null;

draw();
if (window.GraphiQL && window.React && window.ReactDOM) openGraphiQL();
else openPlainForm();

function draw() {
  const toggle = make("button", { id: "kith-token-toggle", type: "button", textContent: "Show" });
  toggle.setAttribute("aria-pressed", "false");
  toggle.addEventListener("click", () => {
    const masked = token.classList.toggle("kith-masked");
    toggle.textContent = masked ? "Show" : "Hide";
    toggle.setAttribute("aria-pressed", String(!masked));
  });
  person.append(make("option", { value: "", textContent: "anonymous" }));
  for (const { name, about } of config.people) {
    person.append(make("option", { value: name, textContent: about ? `${name} – ${about}` : name }));
  }
  person.append(make("option", { value: "*", textContent: "own token", hidden: true }));
  token.value = sessionStorage.getItem(KEY) ?? "";
  showPerson();
  person.addEventListener("change", () => {
    token.value = config.people.find(({ name }) => name === person.value)?.token ?? "";
    become();
  });
  token.addEventListener("input", become);
  statusLine.setAttribute("role", "status");
  const bar = make("header", { id: "kith-bar" });
  bar.append(
    make("h1", { textContent: "Kith" }),
    make("label", { htmlFor: "kith-person", textContent: "Person" }),
    person,
    make("label", { htmlFor: "kith-token", textContent: "Access token" }),
    token,
    toggle,
  );
  page.replaceChildren(notice(), bar, main, statusLine);
  sayWho();
}

function notice() {
  const box = make("section", { id: "kith-notice" });
  box.append(
    make("p", { innerHTML: "<strong>The explorer was not built, because Node.js with npm was not found or the build failed.</strong> Install Node 18+, then <code>make run</code> again." }),
    make("p", { textContent: "Until then this page takes GraphiQL from a CDN (unpkg.com), which needs the internet." }),
  );
  return box;
}

function become() {
  sessionStorage.setItem(KEY, token.value.trim());
  showPerson();
  socket?.dispose();
  socket = null;
  sayWho();
}

function showPerson() {
  const known = config.people.find((one) => one.token === token.value.trim());
  person.value = token.value.trim() ? (known?.name ?? "*") : "";
}

function sayWho() {
  const names = { "": "anonymous", "*": "the owner of the token above" };
  say("info", `Requests are sent as ${names[person.value] ?? person.value}.`);
}

function openGraphiQL() {
  const options = {
    fetcher: (params, { headers } = {}) => (isSubscription(params) ? listen(params) : post(params, headers)),
    defaultTabs: [{ query: WHO_AM_I }, { query: LIVE }],
    shouldPersistHeaders: false,
    showPersistHeadersSettings: false,
  };
  window.ReactDOM.createRoot(main).render(window.React.createElement(window.GraphiQL, options));
}

function openPlainForm() {
  const form = make("div", { id: "kith-plain" });
  const query = make("textarea", { id: "kith-query", value: WHO_AM_I, spellcheck: false });
  query.setAttribute("aria-label", "Operation");
  const result = make("pre", { id: "kith-result" });
  const run = make("button", { id: "kith-run", type: "button", textContent: "Run" });
  run.addEventListener("click", async () => {
    run.disabled = true;
    try {
      result.textContent = JSON.stringify(await post({ query: query.value }), null, 2);
    } catch (error) {
      result.textContent = error.message;
    } finally {
      run.disabled = false;
    }
  });
  form.append(make("p", { textContent: "The CDN cannot be reached, so here is a plain form for queries and mutations." }), query, result, run);
  main.append(form);
}

// The names that GraphiQL gives are enough: it sends one operation at a time and knows which.
function isSubscription({ query, operationName }) {
  const bare = query.replace(/#.*/g, "");
  const name = operationName ? `\\s+${operationName}\\b` : "";
  return new RegExp(`(^|})\\s*subscription${name}`).test(bare);
}

async function post(params, headers = {}) {
  const secret = token.value.trim();
  const response = await fetch(httpUrl, {
    method: "POST",
    headers: {
      ...(secret && { authorization: `Bearer ${secret}` }),
      ...headers,
      accept: "application/graphql-response+json, application/json",
      "content-type": "application/json",
    },
    body: JSON.stringify(params),
    credentials: "omit",
    signal: AbortSignal.timeout(60_000),
  }).catch(() => {
    throw new Error("The server does not answer. Is it running?");
  });
  if (response.status === 401) say("error", REFUSED);
  const text = await response.text();
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`HTTP ${response.status}: ${text.slice(0, 500)}`);
  }
}

function listen(params) {
  return {
    subscribe(observer) {
      socket ??= openSocket();
      const unsubscribe = socket.subscribe(params, {
        next: (result) => observer.next(result),
        complete: () => observer.complete(),
        error(reason) {
          if (Array.isArray(reason)) observer.next({ errors: reason });
          else observer.error(new Error(reason.code ? `The socket closed with ${reason.code} ${reason.reason}` : String(reason)));
        },
      });
      return { unsubscribe };
    },
  };
}

function openSocket() {
  const secret = token.value.trim();
  return window.graphqlWs.createClient({
    url: httpUrl.replace(/^http/, "ws"),
    connectionParams: secret ? { authorization: `Bearer ${secret}` } : undefined,
    shouldRetry: (reason) => reason instanceof Event && !REFUSED_CODES.includes(reason.code),
    on: {
      connected: () => say("info", "Listening: each event is shown as it arrives."),
      closed: ({ code }) => REFUSED_CODES.includes(code) && say("error", REFUSED),
    },
  });
}

function say(kind, text) {
  statusLine.dataset.kind = kind;
  statusLine.textContent = text;
}

function make(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
