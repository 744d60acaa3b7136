// The playground: picks rows of `PLAYGROUND` (written by cyborg_utils/study/playground.py) and lets Vega-Lite draw them.
// No statistic is computed here.
/* global PLAYGROUND, vegaEmbed */
const at = (id) => document.getElementById(id);
const three = (value) => (value == null ? "–" : value.toFixed(3));
const percent = (value) => (value == null ? "–" : `${Math.round(100 * value)}%`);
const signed = (value) => (value == null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);
const within = (row, show) => (row.low == null ? `${show(row.value)} (no interval)` : `${show(row.value)} [${show(row.low)}, ${show(row.high)}]`);
const SHAPES = ["cross", "diamond", "circle", "square", "triangle-up", "triangle-down", "triangle-right", "triangle-left"];
const looks = { background: "transparent", font: "system-ui, sans-serif", view: { stroke: null }, axis: { labelFontSize: 12, titleFontSize: 12, labelPadding: 6 } };

function draw(id, words, layers, data, height) {
  const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", data: { values: data }, layer: layers, config: looks };
  if (height) spec.height = height;
  return vegaEmbed(at(id), spec, { actions: false, renderer: "svg" }).then(() => {
    at(id).setAttribute("role", "img"); // in the place of Vega's own words, which name every mark
    at(id).setAttribute("aria-label", words);
    at(id).querySelector("svg").setAttribute("aria-hidden", "true");
  });
}

// rows with `name`, value, low, high, color, chosen; one line each, the chosen one stronger
function forest(id, words, rows, title, { format = ".2f", marks = [] } = {}) {
  const y = { field: "name", type: "nominal", sort: null, axis: { title: null, domain: false, ticks: false, labelLimit: 0.45 * at("play").clientWidth } };
  const color = { field: "color", type: "nominal", scale: null };
  const opacity = { condition: { test: "datum.chosen", value: 1 }, value: 0.45 };
  draw(id, words, [
    ...marks,
    { mark: { type: "rule", strokeWidth: 3 }, encoding: { y, x: { field: "low", type: "quantitative", title, scale: { zero: false }, axis: { format } }, x2: { field: "high" }, color, opacity } },
    { mark: { type: "point", filled: true, size: 110 }, encoding: { y, x: { field: "value", type: "quantitative" }, color, opacity, tooltip: [{ field: "name" }, { field: "value", format: ".3f" }, { field: "low", format: ".3f" }, { field: "high", format: ".3f" }] } },
  ], rows, { step: 30 });
}

const rule = (value) => ({ data: { values: [{ value }] }, mark: { type: "rule", strokeDash: [4, 4], color: "#888" }, encoding: { x: { field: "value", type: "quantitative" } } });
const band = (limit) => ({ data: { values: [{ low: -limit, high: limit }] }, mark: { type: "rect", color: "#888", opacity: 0.2 }, encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } } });

function options(id, rows) {
  const before = at(id).value;
  at(id).replaceChildren(...rows.map(({ key, label }) => new Option(label, key)));
  if (rows.some(({ key }) => String(key) === before)) at(id).value = before;
}

function table(rows, heads) {
  const cells = (row, tag) => row.map((cell) => Object.assign(document.createElement(tag), { textContent: cell }));
  const line = (row, tag) => { const tr = document.createElement("tr"); tr.append(...cells(row, tag)); return tr; };
  const box = Object.assign(document.createElement("div"), { className: "scrolls", tabIndex: 0 });
  const made = document.createElement("table");
  made.append(line(heads, "th"), ...rows.map((row) => line(row, "td")));
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", heads.join(", "));
  box.append(made);
  return box;
}

const study = () => PLAYGROUND[at("study").value];

function play() {
  const [of, fraction, arm, group] = [study(), Number(at("fraction").value), at("arm").value, at("group").value];
  const arms = Object.fromEntries(of.arms.map((one) => [one.key, one]));
  const shown = (kind, test) => of[kind].filter(test).map((row) => ({ ...row, name: arms[row.arm].label, color: arms[row.arm].color, chosen: row.arm === arm }));
  const mine = (row) => row.group === group && (row.fraction === fraction || row.fraction === 1);
  const [qwk, gap] = [shown("qwk", mine), shown("gap", (row) => mine(row) && row.resolved)];
  const smd = of.smd.filter((row) => row.arm === arm && (row.fraction === fraction || row.fraction === 1))
    .map((row) => ({ ...row, name: of.groups.find(({ key }) => key === row.group).label, color: arms[arm].color, chosen: row.group === group }));
  const [one, share, bias] = [qwk.find(({ chosen }) => chosen), gap.find(({ chosen }) => chosen), smd.find(({ chosen }) => chosen)];
  const who = of.groups.find(({ key }) => key === group);
  at("play-says").textContent = !one ? "This arm was not run with this share of human scores." :
    `${arms[arm].label}, ${who.label} (${one.n} test essays, ${one.seeds} seed${one.seeds > 1 ? "s" : ""}): QWK ${within(one, three)}` +
    (share ? `; ${within(share, percent)} of the gap closed` : gap.length ? "" : "; the gap is not shown to be above 0 here, so no share of it is closed") + (bias ? `; SMD ${within(bias, signed)}, ${bias.verdict}.` : ".");
  forest("qwk", `QWK by arm, ${who.label}. ${qwk.map((row) => `${row.name} ${within(row, three)}`).join("; ")}`, qwk, "QWK");
  forest("gap", `Share of the gap closed, ${who.label}. ${gap.map((row) => `${row.name} ${within(row, percent)}`).join("; ") || "None: the gap is not shown to be above 0."}`,
    gap, "share of the gap closed", { format: ".0%", marks: [rule(0), rule(1)] });
  at("gap").hidden = !gap.length;
  forest("smd", `SMD of ${arms[arm].label} by group. ${smd.map((row) => `${row.name} ${within(row, signed)}`).join("; ")}`, smd, "SMD", { marks: [band(of.limit), rule(0)] });
  at("smd").hidden = !smd.length;
  at("play-table").replaceChildren(
    table(qwk.map((row) => [row.name, three(row.value), three(row.low), three(row.high), row.n, row.seeds]), ["arm", "QWK", "low", "high", "essays", "seeds"]),
    table(smd.map((row) => [row.name, signed(row.value), signed(row.low), signed(row.high), row.verdict]), ["writers", "SMD", "low", "high", "verdict"]));
}

function budget() {
  const { budget: of, pool } = study();
  const [essays, paid] = [Math.max(1, Number(at("essays").value)), Math.max(1, Number(at("paid").value))];
  const place = of.n.reduce((best, n, i) => (Math.abs(Math.log(n / paid)) < Math.abs(Math.log(of.n[best] / paid)) ? i : best), 0);
  const money = (n) => (of.price ? `${Math.round(of.setup + n * of.price).toLocaleString("en")} ${of.currency}` : null);
  const ways = of.ways.map((way) => {
    const known = paid >= way.range[0] && paid <= way.range[1] ? { value: way.qwk[place], low: way.low[place], high: way.high[place] } : {};
    const near = way.points.reduce((best, point) => (Math.abs(Math.log(point.n / paid)) < Math.abs(Math.log(best.n / paid)) ? point : best));
    return { ...way, ...known, near };
  });
  const best = ways.filter(({ value }) => value != null).sort((a, b) => b.value - a.value)[0];
  at("budget-says").textContent = paid >= essays ? `You can have all ${essays.toLocaleString("en")} essays scored by people${money(essays) ? `, for ${money(essays)}` : ""}. No machine is needed.` :
    `${paid.toLocaleString("en")} human scores` + (money(paid) ? ` cost ${money(paid)} at this study's prices; all ${essays.toLocaleString("en")} would cost ${money(essays)}` : "") +
    `. A machine scores the other ${(essays - paid).toLocaleString("en")}. ` +
    (best ? `The highest expected QWK is that of ${best.label}: ${within(best, three)}.` : "Nothing was measured near that number; the nearest are below.") +
    (essays - paid < pool / 2 ? ` Your Teacher would have fewer essays to score than this study's (${pool.toLocaleString("en")}), so a Student would learn less from it.` : "");
  at("ways").replaceChildren(table(ways.map((way) => [way.label, three(way.value), way.value == null ? "–" : `${three(way.low)} to ${three(way.high)}`,
    way.value == null ? `not measured there; with ${way.near.n.toLocaleString("en")}: ${within({ ...way.near, value: way.near.qwk }, three)}` : way.how]), ["way", "QWK", "interval", "how it is known"]));
  const expected = ways.filter(({ value }) => value != null).map((way) => ({ name: way.label, value: way.value, low: way.low, high: way.high, color: way.color, chosen: true }));
  const told = expected.map((row) => `${row.name} ${within(row, three)}`).join("; ");
  forest("expected", `Expected QWK with ${paid} human scores: ${told}`, expected, `expected QWK with ${paid.toLocaleString("en")} human scores`);
  at("expected").hidden = !expected.length;
  const lines = ways.flatMap((way) => of.n.map((n, i) => ({ n, qwk: way.qwk[i], way: way.label })).filter(({ qwk }) => qwk != null));
  const points = ways.flatMap((way) => way.points.map((point) => ({ ...point, way: way.label })));
  const names = ways.map((way) => way.label);
  const x = { field: "n", type: "quantitative", scale: { type: "log", nice: false }, title: "human scores paid for", axis: { tickCount: 5, format: ",d" } };
  const y = { field: "qwk", type: "quantitative", scale: { zero: false }, title: "QWK" };
  const columns = at("budget").clientWidth > 600 ? 3 : 1;
  const color = { field: "way", type: "nominal", scale: { domain: names, range: ways.map((way) => way.color) }, legend: { title: null, orient: "bottom", columns, labelLimit: 260 } };
  const shape = { field: "way", type: "nominal", scale: { domain: names, range: SHAPES } };
  draw("curves", `QWK against human scores paid for. At ${paid}: ${told}`, [
    { mark: { type: "line", strokeWidth: 2.5 }, encoding: { x, y, color } },
    { data: { values: points }, mark: { type: "point", filled: true, size: 80 }, encoding: { x, y, color, shape, tooltip: [{ field: "way" }, { field: "n", format: ",d" }, { field: "qwk", format: ".3f" }] } },
    { data: { values: [{ n: Math.min(Math.max(paid, of.n[0]), of.n.at(-1)) }] }, mark: { type: "rule", strokeDash: [4, 4], color: "#888" }, encoding: { x } },
  ], lines, 300);
}

function restart() {
  const of = study();
  options("fraction", of.fractions);
  options("group", of.groups.map(({ key, label, n }) => ({ key, label: `${label} (${n})` })));
  choose();
  at("essays").value = of.pool + of.fractions[0].paid;
  at("paid").value = of.fractions[0].paid;
  budget();
}

function choose() {
  const fraction = Number(at("fraction").value);
  const run = new Set(study().qwk.filter((row) => row.fraction === fraction || row.fraction === 1).map(({ arm }) => arm));
  options("arm", study().arms.filter(({ key }) => run.has(key)));
  play();
}

options("study", Object.entries(PLAYGROUND).map(([key, { title }]) => ({ key, label: title })));
restart();
if (study().arms.some(({ key }) => key === "cyborg")) { at("arm").value = "cyborg"; play(); }
at("study").addEventListener("change", restart);
at("fraction").addEventListener("change", choose);
for (const id of ["arm", "group"]) at(id).addEventListener("change", play);
at("budget").addEventListener("input", budget);
for (const id of ["play", "budget"]) at(id).addEventListener("submit", (event) => event.preventDefault());
