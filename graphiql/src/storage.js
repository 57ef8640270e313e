// GraphiQL's memory: what is open belongs to the browser tab, so that two tabs can be two people; the rest is shared.
const OF_THE_TAB = /:(tabState|query|variables|headers|operationName)$/;

const home = (key) => (OF_THE_TAB.test(key) ? sessionStorage : localStorage);

export const storage = {
  getItem: (key) => home(key).getItem(key),
  setItem: (key, value) => home(key).setItem(key, value),
  removeItem: (key) => home(key).removeItem(key),
  clear() {
    for (const key of Object.keys(sessionStorage).filter((name) => OF_THE_TAB.test(name))) sessionStorage.removeItem(key);
    localStorage.clear();
  },
  get length() {
    return localStorage.length;
  },
};
