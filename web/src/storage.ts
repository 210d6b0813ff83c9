/** Values that the browser stores for these pages, or for one tab. If it forbids storage, each page starts empty. */

type Place = "localStorage" | "sessionStorage";

/** Return the text stored under `key`, or "" if there is none. */
export function readStored(place: Place, key: string): string {
  try {
    return globalThis[place].getItem(key) ?? "";
  } catch {
    return "";
  }
}

/** Return the value stored under `key` as JSON, or undefined if there is none. */
export function readJson(place: Place, key: string): unknown {
  try {
    return JSON.parse(readStored(place, key)) as unknown;
  } catch {
    return undefined; // nothing, or the data of another version
  }
}

/** Return the list of names stored under `key` as JSON. */
export function readNames(place: Place, key: string): string[] {
  const names = readJson(place, key);
  return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
}

/** Store a text under `key`, or remove it if it is "". Return whether the browser allowed that. */
export function store(place: Place, key: string, text: string): boolean {
  try {
    if (text === "") globalThis[place].removeItem(key);
    else globalThis[place].setItem(key, text);
    return true;
  } catch {
    return false;
  }
}
