import { createStore } from "./store.js";

const KEPT_EVENTS = 100;

// kind: "info", "ok" or "error".
export const status = createStore({ kind: "info", text: "Ready.", events: [] });

export const say = (kind, text) => status.set({ kind, text });

export function recordEvent(result) {
  const event = { at: new Date(), text: JSON.stringify(result.errors ?? result.data) };
  status.set({ events: [...status.get().events, event].slice(-KEPT_EVENTS) });
}

export const clearEvents = () => status.set({ events: [] });
