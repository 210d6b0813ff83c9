import assert from "node:assert/strict";
import { test } from "node:test";
import { color, css } from "xterm-color";
import { findPalette, PALETTES, type Palette } from "../src/terminal/palettes";

const ORDER = [
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "brightBlack", "brightRed", "brightGreen",
  "brightYellow", "brightBlue", "brightMagenta", "brightCyan", "brightWhite",
] as const;
const EACH = PALETTES.flatMap((name) => [true, false].map((light) => ({ name, light, ...findPalette(name, light) })));

/** WCAG 2.2, relative luminance and contrast ratio: computed here by itself, not by what is tested. */
function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one: string, other: string): number {
  const [dark = 0, light = 0] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** The colour that xterm.js draws a letter in, by its own code. */
function seen(foreground: string, background: string, ratio: number): string {
  const made = color.ensureContrastRatio(css.toColor(background), css.toColor(foreground), ratio);
  return made?.css.slice(0, 7) ?? foreground;
}

function colours({ theme }: Palette): string[] {
  return ORDER.map((name) => theme[name] ?? "");
}

for (const { name, light, theme, ratio } of EACH) {
  const { background = "", foreground = "" } = theme;
  const all = colours({ theme, ratio });
  const called = `${name}, ${light ? "light" : "dark"}`;

  test(`${called}: as xterm.js draws it, a letter in any of 256 pairs is at least ${ratio}:1`, () => {
    for (const [b, back] of all.entries())
      for (const [f, fore] of all.entries()) {
        const told = contrast(seen(fore, back, ratio), back);
        assert.ok(told >= ratio - 0.01, `${f} on ${b}: ${told.toFixed(2)}`);
      }
  });

  test(`${called}: so is each colour on the background, and the text on each colour`, () => {
    for (const [number, one] of [foreground, ...all].entries()) {
      assert.ok(contrast(seen(one, background, ratio), background) >= ratio - 0.01, `${number - 1} on the background`);
      assert.ok(contrast(seen(foreground, one, ratio), one) >= ratio - 0.01, `the text on ${number - 1}`);
      assert.ok(contrast(seen(background, one, ratio), one) >= ratio - 0.01, `reversed on ${number - 1}`);
    }
  });
}

/**
 * Foreground and background of whole areas: mc 4.8 (skins/default.ini: panels, marked files, the chosen line, menus,
 * dialogs, errors), htop's and less's chosen line, tmux's last line, dialog's and whiptail's windows.
 */
const USED = [
  [7, 4], [11, 4], [15, 4], [0, 6], [11, 6], [15, 6], [7, 0], [11, 0], [15, 0], [8, 0], [0, 7], [1, 7], [4, 7], [8, 7],
  [15, 1], [0, 1], [11, 1], [0, 2], [0, 3],
] as const;

for (const light of [true, false])
  test(`our own palette, ${light ? "light" : "dark"}: before xterm.js changes anything, what programs draw is at least 3:1`, () => {
    const all = colours(findPalette("stagedoor", light));
    for (const [f, b] of USED) {
      const told = contrast(all[f] ?? "", all[b] ?? "");
      assert.ok(told >= 3, `${f} on ${b}: ${told.toFixed(2)}`);
    }
    // The text of mc's panels and errors keeps its colours; where one would be changed, all would become the same.
    for (const [f, b] of [[7, 4], [11, 4], [15, 4], [15, 1]] as const) {
      const told = contrast(all[f] ?? "", all[b] ?? "");
      assert.ok(told >= 4.5, `${f} on ${b}: ${told.toFixed(2)}`);
    }
    const { background = "", foreground = "" } = findPalette("stagedoor", light).theme;
    assert.ok(contrast(foreground, background) >= 7, "the text on the background");
    // No blue and no red has 4.5:1 to the dark background and to the white text that is drawn on it: from one of these
    // to the other there are only 15:1. There the text in that colour is what xterm.js makes lighter.
    for (const f of [1, 2, 3, 4, 5, 6, 8]) {
      const told = contrast(all[f] ?? "", background);
      assert.ok(told >= (!light && (f === 1 || f === 4) ? 3 : 4.5), `${f} on the background: ${told.toFixed(2)}`);
    }
  });
