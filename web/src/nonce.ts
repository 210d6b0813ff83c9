/**
 * Set the nonce on each style element that a script creates. The page's policy refuses style elements without it,
 * and xterm.js sets none. The policy also refuses style attributes, with which xterm.js colours cells, so set them
 * through the object model, which it allows (CSP Level 3, §8.4).
 */
export function markStyles(nonce: string): void {
  const create = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    const element = create(name, options);
    if (name === "style") element.nonce = nonce;
    return element;
  }) as typeof document.createElement;
  const set = Element.prototype.setAttribute;
  HTMLSpanElement.prototype.setAttribute = function (name: string, value: string): void {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
}
