// Look at the book as a reader does: `make look` takes screenshots in headless Chromium, at desk and at phone width, light and dark,
// and lets axe-core judge each page. Ends with 1 where a page has a serious fault, an error in its script, or is wider than the screen.
//
//   node tools/look.mjs build/book/html build/look [page ...]
//
// Needs Chromium (CHROMIUM names it, else /usr/bin/chromium) and the npm packages playwright-core and axe-core.
import { createRequire } from "node:module";
import { mkdirSync, readdirSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(path.resolve("build/node/package.json"));
const { chromium } = require("playwright-core");
const [html, seen, ...named] = process.argv.slice(2);
const studies = readdirSync(path.join(html, "results")).map((name) => `results/${name}/notebooks`);
const chapters = studies.flatMap((folder) => {
  try { return readdirSync(path.join(html, folder)).filter((name) => name.endsWith(".html")).map((name) => `${folder}/${name}`); } catch { return []; }
});
const pages = named.length ? named : ["index.html", "playground.html", "glossary.html", "search.html", "teach.html", "docs/results.html", ...chapters];
const desk = { name: "desk", width: 1280, height: 900 }, phone = { name: "phone", width: 390, height: 844 };
const views = [[desk, "light"], [desk, "dark"], [phone, "light"], [phone, "dark"]]; // a chapter is seen in the two in the middle
const serious = new Set(["serious", "critical"]);
mkdirSync(seen, { recursive: true });
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
let faults = 0;
for (const page of pages) {
  for (const [{ name, width, height }, colorScheme] of chapters.includes(page) && !named.length ? views.slice(1, 3) : views) {
    const tab = await (await browser.newContext({ viewport: { width, height }, colorScheme })).newPage();
    const wrong = [];
    tab.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
    await tab.goto(pathToFileURL(path.resolve(html, page)).href, { waitUntil: "load" });
    await tab.waitForTimeout(300);
    const wide = await tab.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 1) wrong.push(`${wide} pixels wider than the screen`);
    await tab.addScriptTag({ path: require.resolve("axe-core") });
    for (const { id, impact, nodes } of (await tab.evaluate(() => axe.run())).violations) {
      if (serious.has(impact)) wrong.push(`${impact} ${id}, ${nodes.length} times, e.g. ${nodes[0].html.slice(0, 160)}`);
    }
    await tab.screenshot({ path: path.join(seen, `${page.replaceAll("/", "_").replace(".html", "")}-${name}-${colorScheme}.png`), fullPage: named.length > 0 });
    for (const fault of wrong) console.log(`${page} (${name}, ${colorScheme}): ${fault}`);
    faults += wrong.length;
    await tab.context().close();
  }
}
await browser.close();
console.log(`${pages.length} pages at two widths, light and dark: ${faults} serious faults; pictures in ${seen}`);
process.exit(faults ? 1 : 0);
