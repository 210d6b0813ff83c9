/** The copy buttons of the pages, which need a script. */
import { copyByHand } from "../page";
import { t } from "../language";

/** Show the copy buttons within `root`. */
export function showCopies(root: ParentNode): void {
  for (const button of root.querySelectorAll<HTMLButtonElement>("button.copy")) button.hidden = false;
}

/** Copy the text of a button when it is clicked, wherever it is on the page. */
export function copyOnClick(): void {
  document.addEventListener("click", (event) => {
    const button = event.target instanceof Element ? event.target.closest<HTMLButtonElement>("button.copy") : null;
    if (button === null) return;
    const text = button.parentElement?.querySelector("code")?.textContent ?? "";
    const done = (): void => {
      button.textContent = t`Copied`;
      setTimeout(() => (button.textContent = t`Copy`), 1500);
    };
    if (navigator.clipboard === undefined) {
      copyByHand(text);
      done();
    } else void navigator.clipboard.writeText(text).then(done, () => {
        copyByHand(text);
        done();
      });
  });
}
