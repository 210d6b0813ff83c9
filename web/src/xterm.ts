/** The packages that the terminal's page and the player share: one script, which a browser loads once for both. */
export { ImageAddon } from "@xterm/addon-image";
export { Unicode11Addon } from "@xterm/addon-unicode11";
export { Terminal } from "@xterm/xterm";
