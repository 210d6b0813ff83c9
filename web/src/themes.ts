import type { ITheme } from "@xterm/xterm";

export const DARK: ITheme = {
  background: "#101418", foreground: "#dde3ea", cursor: "#e8b04a", cursorAccent: "#101418",
  selectionBackground: "#3b5878", black: "#1d232a", red: "#e06c75", green: "#8fc379", yellow: "#e5c07b",
  blue: "#6cb2f5", magenta: "#cf8ae6", cyan: "#5fc3cf", white: "#c5cdd6", brightBlack: "#78828e",
  brightRed: "#ff8790", brightGreen: "#aee08f", brightYellow: "#ffd98a", brightBlue: "#92caff",
  brightMagenta: "#e6a8f7", brightCyan: "#82dfe9", brightWhite: "#ffffff",
};

/** The colours can be read on white, and black on them: tmux's last line is black on green. */
export const LIGHT: ITheme = {
  background: "#ffffff", foreground: "#1b2128", cursor: "#8a5a12", cursorAccent: "#ffffff",
  selectionBackground: "#b9d4f2", black: "#000000", red: "#dc362c", green: "#2e8637", yellow: "#996e00",
  blue: "#0f75dc", magenta: "#b345c7", cyan: "#00828e", white: "#6d7681", brightBlack: "#5c6570",
  brightRed: "#c8322a", brightGreen: "#2f7d37", brightYellow: "#8a6500", brightBlue: "#1668bd",
  brightMagenta: "#a03eb1", brightCyan: "#00757f", brightWhite: "#3c444d",
};
