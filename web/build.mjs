// Builds the page into the Python package; with --tests, the tests into build/.
import { build } from "esbuild";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

const tests = process.argv.includes("--tests");
// The packages of xterm.ts, one file for the terminal's page and the player. Each has the global `xterm` in their place.
const shared = {
  name: "shared",
  setup({ onResolve, onLoad }) {
    const packages = /^@xterm\/(xterm|addon-image|addon-unicode11)$/;
    onResolve({ filter: packages }, ({ path }) => ({ path, namespace: "shared" }));
    onLoad({ filter: /./, namespace: "shared" }, () => ({ contents: "module.exports = xterm" }));
  },
};
const common = { bundle: true, target: "es2022", logLevel: "warning", legalComments: "none" };
if (tests) {
  await build({
    ...common,
    entryPoints: readdirSync("tests").filter((name) => name.endsWith(".test.ts")).map((name) => `tests/${name}`),
    outdir: "build/tests",
    platform: "node",
    format: "esm",
    outExtension: { ".js": ".mjs" },
    packages: "external",
    alias: { "xterm-color": "./node_modules/@xterm/xterm/src/common/Color.ts" },
  });
} else {
  const folder = "../src/stagedoor/listeners/web/static";
  const page = { ...common, outdir: folder, minify: true, format: "iife", write: false };
  const xterm = await build({ ...page, entryPoints: ["src/xterm.ts"], globalName: "xterm" });
  const { outputFiles } = await build({
    ...page,
    plugins: [shared],
    entryPoints: [
      "src/terminal/terminal.ts", "src/terminal/terminal.css", "src/replay/replay.ts", "src/replay/replay.css", "src/account/home.ts",
      "src/account/one-time-link.ts", "src/account/share-link.ts", "src/account/passkeys.ts", "src/palette/go.ts", "src/times.ts", "src/pages.css",
    ],
  });
  const files = new Map([...xterm.outputFiles, ...outputFiles].map((each) => [basename(each.path), Buffer.from(each.contents)]));
  files.set("icon.svg", readFileSync("src/icon.svg"));
  // The licences of the bundled packages.
  const names = Object.keys(JSON.parse(readFileSync("package.json", "utf8")).dependencies);
  // Not each add-on of xterm.js repeats the licence of their common repository.
  const licence = (name) => `node_modules/${existsSync(`node_modules/${name}/LICENSE`) || !name.startsWith("@xterm/") ? name : "@xterm/xterm"}/LICENSE`;
  const texts = names.map((name) => `${name}\n\n${readFileSync(licence(name), "utf8")}`);
  files.set("licences.txt", Buffer.from(texts.join("\n---\n\n")));
  replace(folder, files);
}

// Unchanged files are left alone, and none is ever half written: a gateway may run from this checkout.
function replace(folder, files) {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of files) {
    const path = `${folder}/${name}`;
    if (existsSync(path) && readFileSync(path).equals(content)) continue;
    writeFileSync(`${path}.new`, content);
    renameSync(`${path}.new`, path);
  }
  for (const name of readdirSync(folder)) if (!files.has(name)) rmSync(`${folder}/${name}`, { recursive: true });
}
