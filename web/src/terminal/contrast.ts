/**
 * The terminal's palette, and a minimum contrast for box-drawing lines. xterm.js leaves box-drawing characters as they
 * are, since some fonts draw arrows with them that must match a neighbour's background. So the frames of mc and dialog,
 * which are lines in one colour on another, can vanish. Here only the lines are treated as text: blocks (from U+2580)
 * and Powerline's arrows stay. xterm.js also asks for half the contrast only where text is dim (SGR 2), and draws it
 * half transparent. Here dim text is halfway to its background, but no closer to it than other text may be. Names with
 * an underscore are xterm.js's own; if they are missing, frames keep the colours of their program.
 */

import type { Terminal } from "@xterm/xterm";
import { findRowFactory } from "./glyphs";
import { findPalette } from "./palettes";
import type { Settings } from "../settings";

export interface Cell {
  getCode(): number;
  isDim(): number;
}

export interface Colour {
  css: string;
  /** Red, green, blue and alpha, a byte each, the red one highest. */
  rgba: number;
}

const FIRST_LINE = 0x2500;
const LAST_LINE = 0x257f;
const LETTER = 0x61;

/** Return the colour halfway between two, as xterm.js draws dim text. */
export function mixHalf(background: Colour, foreground: Colour): Colour {
  const at = (colour: Colour, shift: number) => (colour.rgba >>> shift) & 0xff;
  const half = [24, 16, 8].map((shift) => Math.round((at(background, shift) + at(foreground, shift)) / 2));
  const hex = `${half.map((part) => part.toString(16).padStart(2, "0")).join("")}ff`;
  return { css: `#${hex.slice(0, 6)}`, rgba: parseInt(hex, 16) };
}

/** Raise the contrast of lines and of dim text in an open terminal. */
export function raiseContrast(term: Terminal): void {
  const factory = findRowFactory(term);
  const add = factory?._applyMinimumContrast?.bind(factory);
  if (factory === undefined || add === undefined) return;
  factory._applyMinimumContrast = (element, background, foreground, cell, ...more) => {
    const code = cell.getCode();
    const line = code >= FIRST_LINE && code <= LAST_LINE;
    const shown = { getCode: () => (line ? LETTER : code), isDim: () => 0 };
    return add(element, background, cell.isDim() ? mixHalf(background, foreground) : foreground, shown, ...more);
  };
}

/** Return the browser's colour of that name, as `rgb(…)`. */
function resolveColour(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = name;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

/** Set the terminal's colours, and the same background for `place` around it. */
export function applyPalette(term: Terminal, place: HTMLElement, { palette, readable }: Pick<Settings, "palette" | "readable">, light: boolean): void {
  const { theme, ratio } = findPalette(palette, light);
  if (palette === "system") {
    const [background, foreground] = [resolveColour("Canvas"), resolveColour("CanvasText")];
    Object.assign(theme, { background, foreground, cursor: foreground, cursorAccent: background, selectionBackground: resolveColour("Highlight") });
  }
  term.options.theme = theme;
  term.options.minimumContrastRatio = readable ? ratio : 1;
  place.style.backgroundColor = theme.background ?? "";
}
