/** Links that programs show: where they lead is seen before anybody follows one. */

import { oneLine } from "./clipboard";
import { passing } from "../page";

const APPLE = /Mac|iPhone|iPad/.test(navigator.userAgent);

export function follow(event: MouseEvent, uri: string): void {
  // A program chose what stands there: it takes a gesture that nobody makes by chance.
  if (!(event.ctrlKey || event.metaKey) || !/^https?:\/\//i.test(uri)) return;
  window.open(uri, "_blank", "noopener,noreferrer");
}

let hovers = false;

/** Of OSC 8, whose text need not be its address, and of addresses in the text. */
export const SEEN = {
  hover(_: MouseEvent, uri: string): void {
    hovers = true;
    passing(`${oneLine(uri)} (${APPLE ? "⌘" : "Ctrl"} and a click opens it)`, true);
  },
  leave(): void {
    if (hovers) passing("");
    hovers = false;
  },
};
