/**
 * The page's policy takes no style element without its nonce, and xterm.js knows of none: put it on
 * each that is made. Nor does it take a style attribute, by which xterm.js gives cells their true
 * colours; the same through the object model is allowed (CSP Level 3, §8.4). Returns what makes
 * elements without looking.
 */
export function markStyles(nonce: string): typeof document.createElement {
  const create = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions) => {
    const made = create(name, options);
    if (name === "style") made.nonce = nonce;
    return made;
  }) as typeof document.createElement;
  const set = Element.prototype.setAttribute;
  HTMLSpanElement.prototype.setAttribute = function (name: string, value: string): void {
    if (name === "style") this.style.cssText = value;
    else set.call(this, name, value);
  };
  return create;
}
