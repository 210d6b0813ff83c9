/** The scripts of the home page and the account's: copy buttons, menus, the table of apps. Both work without them. */
import { copyOnClick, showCopies } from "./copy";
import { setUpApps } from "./apps";

showCopies(document);
copyOnClick();
setUpApps();

// One menu at a time, closed by Escape and by a click elsewhere.
const menus = (): NodeListOf<HTMLDetailsElement> => document.querySelectorAll<HTMLDetailsElement>("details.more[open]");
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!(event.target instanceof Node && menu.contains(event.target))) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary")?.focus();
  }
});
