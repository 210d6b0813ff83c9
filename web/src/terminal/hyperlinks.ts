/** Links in the terminal. The page shows their address before the user follows one. */

import { toOneLine } from "./clipboard";
import { t } from "../language";
import { showPassing } from "../page";
import { COMMAND } from "../palette/palette";

export function follow(event: MouseEvent, uri: string): void {
  // A program chose the address, so following it takes a gesture that is not made by accident.
  if (!(event.ctrlKey || event.metaKey) || !/^https?:\/\//i.test(uri)) return;
  window.open(uri, "_blank", "noopener,noreferrer");
}

let hovers = false;

/** Callbacks that show the address of a link: one by OSC 8, whose text may differ from it, or one in the text. */
export const HOVER_HANDLERS = {
  hover(_: MouseEvent, uri: string): void {
    hovers = true;
    showPassing(t`${toOneLine(uri)} (${COMMAND} and a click opens it)`, true);
  },
  leave(): void {
    if (hovers) showPassing("");
    hovers = false;
  },
};
