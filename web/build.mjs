// Builds the page into the Python package; with --tests, the tests into build/.
import { build } from "esbuild";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";

const tests = process.argv.includes("--tests");
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
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    ...common,
    entryPoints: ["src/terminal.ts", "src/home.ts", "src/link.ts", "src/shared.ts", "src/replay.ts", "src/times.ts", "src/passkeys.ts", "src/terminal.css", "src/replay.css", "src/pages.css"],
    outdir: folder,
    minify: true,
    format: "iife",
  });
  copyFileSync("src/icon.svg", `${folder}/icon.svg`);
  // What is bundled comes with its licence, as that asks for.
  const names = Object.keys(JSON.parse(readFileSync("package.json", "utf8")).dependencies);
  // xterm.js's add-ons come from its own repository; not each of them repeats its licence.
  const licence = (name) => `node_modules/${existsSync(`node_modules/${name}/LICENSE`) || !name.startsWith("@xterm/") ? name : "@xterm/xterm"}/LICENSE`;
  const texts = names.map((name) => `${name}\n\n${readFileSync(licence(name), "utf8")}`);
  writeFileSync(`${folder}/licences.txt`, texts.join("\n---\n\n"));
}
