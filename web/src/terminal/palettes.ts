/**
 * The terminal's colours. Pure. Published palettes have their authors' colours; while xterm.js draws, it raises the
 * contrast of text to `ratio` (see `contrast.ts`).
 * Sources: ethanschoonover.com/solarized, draculatheme.com/spec (light: Alucard), github.com/morhetz/gruvbox;
 * `system` has the 16 colours of xterm and the browser's own background, text and selection (CSS Color 4, §6.2).
 */

import type { ITheme } from "@xterm/xterm";

export const PALETTES = ["stagedoor", "contrast", "solarized", "dracula", "gruvbox", "system"] as const;
export type PaletteName = (typeof PALETTES)[number];

export interface Palette {
  theme: ITheme;
  /** The least contrast of text to its background, as in WCAG 2; text below it is made lighter or darker. */
  ratio: number;
}

const NAMES = [
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "brightBlack", "brightRed", "brightGreen",
  "brightYellow", "brightBlue", "brightMagenta", "brightCyan", "brightWhite",
] as const;

/** Make a palette. `colours` are the 16 of ECMA-48 and aixterm, in their order; a missing one is the foreground. */
function makePalette(background: string, foreground: string, selectionBackground: string, colours: string, ratio = 4.5, cursor = foreground): Palette {
  const values = colours.split(" ");
  const theme: ITheme = { background, foreground, selectionBackground, cursor, cursorAccent: background };
  NAMES.forEach((name, number) => (theme[name] = values[number] ?? foreground));
  return { theme, ratio };
}

const XTERM =
  "#000000 #cd0000 #00cd00 #cdcd00 #0000ee #cd00cd #00cdcd #e5e5e5 #7f7f7f #ff0000 #00ff00 #ffff00 #5c5cff #ff00ff #00ffff #ffffff";
const SOLARIZED =
  "#073642 #dc322f #859900 #b58900 #268bd2 #d33682 #2aa198 #eee8d5 #002b36 #cb4b16 #586e75 #657b83 #839496 #6c71c4 #93a1a1 #fdf6e3";

const LIGHT: Record<PaletteName, Palette> = {
  stagedoor: makePalette(
    "#ffffff", "#1b2128", "#b9d4f2",
    "#000000 #c8322a #2e7d36 #8a6500 #145eae #a03eb1 #00757f #d8dde3 #68717c #b3261e #2a7532 #ffe27a #155fae #9436a5 #006b75 #ffffff",
    4.5, "#8a5a12",
  ),
  contrast: makePalette(
    "#ffffff", "#000000", "#9cc8ff",
    "#000000 #a80000 #005a1e #6b4a00 #0036b0 #8000a0 #005a66 #ffffff #4a4a4a #960000 #004f1a #ffef60 #002f9c #70008c #004f5a #ffffff",
    7,
  ),
  solarized: makePalette("#fdf6e3", "#657b83", "#eee8d5", SOLARIZED),
  dracula: makePalette(
    "#fffbeb", "#1f1f1f", "#cfcfde",
    "#fffbeb #cb3a2a #14710a #846e15 #644ac9 #a3144d #036a96 #1f1f1f #6c664b #d74c3d #198d0c #9e841a #7862d0 #bf185a #047fb4 #2c2b31",
  ),
  gruvbox: makePalette(
    "#fbf1c7", "#3c3836", "#d5c4a1",
    "#fbf1c7 #cc241d #98971a #d79921 #458588 #b16286 #689d6a #7c6f64 #928374 #9d0006 #79740e #b57614 #076678 #8f3f71 #427b58 #3c3836",
  ),
  system: makePalette("#ffffff", "#000000", "#b5d5ff", XTERM),
};

const DARK: Record<PaletteName, Palette> = {
  stagedoor: makePalette(
    "#101418", "#dde3ea", "#3b5878",
    "#1d232a #d13438 #7fbf6a #d9a93f #2c63b8 #b765d6 #1f8b9a #e1e7ee #75818e #ff8790 #aee08f #ffe9a8 #92caff #e6a8f7 #82dfe9 #ffffff",
    4.5, "#e8b04a",
  ),
  contrast: makePalette(
    "#000000", "#ffffff", "#005fcc",
    "#000000 #a80000 #00d75f #ffd75f #0040d0 #ff8cff #5fe7ff #ffffff #b8b8b8 #ff9c9c #7dff9c #ffff87 #a8c8ff #ffb8ff #a0ffff #ffffff",
    7,
  ),
  solarized: makePalette("#002b36", "#839496", "#274b55", SOLARIZED),
  dracula: makePalette(
    "#282a36", "#f8f8f2", "#44475a",
    "#21222c #ff5555 #50fa7b #f1fa8c #bd93f9 #ff79c6 #8be9fd #f8f8f2 #6272a4 #ff6e6e #69ff94 #ffffa5 #d6acff #ff92df #a4ffff #ffffff",
  ),
  gruvbox: makePalette(
    "#282828", "#ebdbb2", "#504945",
    "#282828 #cc241d #98971a #d79921 #458588 #b16286 #689d6a #a89984 #928374 #fb4934 #b8bb26 #fabd2f #83a598 #d3869b #8ec07c #ebdbb2",
  ),
  system: makePalette("#121212", "#ffffff", "#2f5a8c", XTERM),
};

export function findPalette(name: PaletteName, light: boolean): Palette {
  return (light ? LIGHT : DARK)[name];
}
