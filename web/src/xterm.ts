/** What the terminal's page and the player share, a script of its own: a browser loads it once for both. */
export { ImageAddon } from "@xterm/addon-image";
export { Unicode11Addon } from "@xterm/addon-unicode11";
export { Terminal } from "@xterm/xterm";
