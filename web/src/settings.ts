/** The user's settings for the terminal's page, stored in this browser. */

import { readJson, readStored, store } from "./storage";
import { PALETTES, type PaletteName } from "./terminal/palettes";

export interface Settings {
  theme: "system" | "dark" | "light";
  palette: PaletteName;
  /** Whether text with too little contrast is drawn lighter or darker than its program asks for. */
  readable: boolean;
  fontSize: number;
  /** The name of a font of the user's machine, or "" for the page's own choice. */
  fontFamily: string;
  cursor: (typeof CURSORS)[number];
  copyOnSelect: boolean;
  pasteGuard: boolean;
  localEcho: boolean;
  tmux: boolean;
  screenReader: boolean;
  keyBar: boolean;
  bell: boolean;
  /** Whether the system shows notices of a terminal that does not have the focus. */
  notify: boolean;
}

const CURSORS = ["block", "bar", "underline"] as const;
const FONTS = 'ui-monospace, "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace';

/** Return the CSS font family for a chosen font. The page's own follow it, for letters that it lacks. */
export function composeFontFamily(chosen: string): string {
  const name = chosen.replace(/[^\p{L}\p{N} _.-]/gu, "").trim();
  return name ? `"${name}", ${FONTS}` : FONTS;
}

const KEY = "stagedoor.settings";

/** Return the defaults; `tmux` is that of the gateway's settings. */
function defaults(tmux: boolean): Settings {
  return {
    theme: "system",
    palette: "stagedoor",
    readable: true,
    fontSize: 14,
    fontFamily: "",
    cursor: "block",
    copyOnSelect: false,
    pasteGuard: true,
    localEcho: true,
    tmux,
    screenReader: false,
    keyBar: matchMedia("(pointer: coarse)").matches,
    bell: true,
    notify: false,
  };
}

/** Return the stored settings; missing and invalid ones have their defaults. */
export function loadSettings(tmux: boolean): Settings {
  const settings = defaults(tmux);
  const kept = (readJson("localStorage", KEY) ?? {}) as Record<string, unknown>;
  if (kept.theme === "dark" || kept.theme === "light") settings.theme = kept.theme;
  settings.palette = PALETTES.find((name) => name === kept.palette) ?? settings.palette;
  if (typeof kept.fontSize === "number" && kept.fontSize >= 6 && kept.fontSize <= 40) settings.fontSize = kept.fontSize;
  if (typeof kept.fontFamily === "string") settings.fontFamily = kept.fontFamily.slice(0, 100);
  settings.cursor = CURSORS.find((name) => name === kept.cursor) ?? settings.cursor;
  for (const name of ["readable", "copyOnSelect", "pasteGuard", "localEcho", "tmux", "screenReader", "keyBar", "bell", "notify"] as const)
    if (typeof kept[name] === "boolean") settings[name] = kept[name];
  return settings;
}

/** Return whether this is the first call for `what` in this browser. */
export function isFirstTime(what: string): boolean {
  const key = `stagedoor.said.${what}`;
  return readStored("localStorage", key) === "" && store("localStorage", key, "1");
}

/** Bind the form's fields to the settings; `changed` is called after each change. */
export function bindForm(form: HTMLFormElement, settings: Settings, changed: () => void): void {
  for (const field of form.querySelectorAll<HTMLInputElement | HTMLSelectElement>("input, select")) {
    const name = field.name as keyof Settings;
    if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = settings[name] === true;
    else field.value = String(settings[name]);
    field.addEventListener("change", () => {
      if (name === "theme") settings.theme = field.value as Settings["theme"];
      else if (name === "palette") settings.palette = field.value as PaletteName;
      else if (name === "cursor") settings.cursor = field.value as Settings["cursor"];
      else if (name === "fontFamily") settings.fontFamily = field.value;
      else if (name === "fontSize") settings.fontSize = Math.min(40, Math.max(6, Number(field.value) || 14));
      else settings[name] = (field as HTMLInputElement).checked;
      store("localStorage", KEY, JSON.stringify(settings));
      changed();
    });
  }
}
