// Shows a report: its figures, the table, and what chart.js draws. Used by the page and by reports that are one file.
"use strict";

const ROWS_AT_A_TIME = 1000;
const STAGES = [["video_25", "25 %"], ["video_50", "50 %"], ["video_75", "75 %"], ["video_completed", "Completion"]]; // of what was started

const find = (id) => document.getElementById(id);
const integer = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
let report = null;
let order = { column: 0, down: false }; // of the table's rows

function showReport(text, name, summary = {}) {
  report = parseReport(text);
  order = { column: 0, down: false };
  const file = new Blob([text], { type: "text/csv" });
  URL.revokeObjectURL(find("download").href);
  find("download").href = URL.createObjectURL(file);
  find("download").download = `${stem(name)}.csv`;
  find("report-title").textContent = `Report of ${name}`;
  document.title = `${name} – Hourly report`;
  for (const node of document.querySelectorAll("[data-key]")) {
    node.textContent = grouped(String(summary[node.dataset.key] ?? "–"));
    node.parentNode.hidden = !(node.dataset.key in summary);
  }
  find("counters").hidden = !("read" in summary);
  find("report").hidden = false;
  find("chart-card").hidden = !report.rows.length;
  find("copied").textContent = "";
  showFigures(report.rows);
  showTable();
  showChart();
}

// A name without what says how its events are stored.
const stem = (name) => name.replace(/^the /, "").replace(/ /g, "-").replace(/(\.(gz|gzip|zst|zstd|bz2|jsonl?|ndjson|parquet|csv))+$/i, "") || "report";

function parseReport(text) {
  const [header, ...lines] = text.trimEnd().split("\n").map((line) => line.split(","));
  const names = header.slice(1, -1); // between the hour and the scaled impressions
  const base = lines.length ? offsetOf(lines[0][0]) : 0;
  const rows = lines.map((cells, index) => ({
    index,
    cells,
    shift: offsetOf(cells[0]) - base, // where clocks have changed since the first hour
    time: Date.parse(cells[0]) / HOUR + base, // hours on the clock of the first
    counts: cells.slice(1, -1).map(Number),
  }));
  const series = names.map((name, order) => ({ name, order }));
  const zones = [...new Set(lines.map(([hour]) => `UTC${hour.slice(19)}`))];
  return { header, names, series, rows, zones };
}

function offsetOf(hour) {
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)$/.exec(hour);
  return Number(`${sign}1`) * (Number(hours) + minutes / 60);
}

// ---- Figures

// Sums of rows; scaled: exact, as text.
function totals(rows) {
  const counts = report.names.map((_, order) => sum(rows.map((row) => row.counts[order])));
  return { counts, scaled: decimalSum(rows.map(({ cells }) => cells.at(-1))) };
}

// The share of started views that came so far; null where none was started.
function rate(counts, name) {
  const started = counts[report.names.indexOf("video_start")];
  return started ? counts[report.names.indexOf(name)] / started : null;
}

const rateText = (value) => (value === null ? "–" : percent.format(value));

// Decimals as text, added exactly.
function decimalSum(texts) {
  const places = Math.max(1, ...texts.map((text) => text.split(".")[1]?.length ?? 0));
  const total = texts.reduce((all, text) => {
    const [whole, part = ""] = text.split(".");
    return all + BigInt(whole + part.padEnd(places, "0"));
  }, 0n);
  const digits = String(total).padStart(places + 1, "0");
  return `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/(\.\d+?)0+$/, "$1");
}

// rows: all, or those that the chart shows.
function showFigures(rows) {
  const { counts, scaled } = totals(rows);
  const figure = ([label, value, note = ""]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, value), element("dd", { class: "quiet" }, note));
  const [first, last] = rows.length ? [rows[0], rows.at(-1)].map(rowHour) : ["–", "–"];
  const figures = [
    ["Completion rate", rateText(rate(counts, "video_completed")), "completed / start"],
    ...STAGES.slice(0, -1).map(([name, label]) => [`Reached ${label}`, rateText(rate(counts, name)), "of start"]),
    ["Impressions", grouped(String(counts[0]))],
    ["Impressions scaled", grouped(scaled)],
    ["First hour", first],
    ["Last hour", last],
  ];
  find("figures").replaceChildren(...figures.map(figure));
}

// ---- The table

const columns = () => [...report.header, ...STAGES.map(([, label]) => `${label} rate`)];

// As text, exact; hour in full where full.
function rowCells({ cells, counts }, full = false) {
  const [hour, ...values] = cells;
  return [full ? hour : shortHour(hour), ...values, ...STAGES.map(([name]) => rateText(rate(counts, name)))];
}

function totalCells() {
  const { counts, scaled } = totals(report.rows);
  return ["Total", ...counts.map(String), scaled, ...STAGES.map(([name]) => rateText(rate(counts, name)))];
}

// With its offset where the report has several.
const shortHour = (hour) => hour.slice(0, 16).replace("T", " ") + (report.zones.length > 1 ? ` ${hour.slice(19)}` : "");
const rowHour = ({ cells }) => shortHour(cells[0]);

function sortedRows() {
  const { column, down } = order;
  const last = report.header.length - 1;
  const key = (row) => {
    if (column === 0) return row.time;
    return column <= last ? Number(row.cells[column]) : rate(row.counts, STAGES[column - last - 1][0]);
  };
  const keyed = report.rows.map((row) => [key(row), row]);
  const none = keyed.filter(([value]) => value === null); // last, whatever the direction
  const some = keyed.filter(([value]) => value !== null).sort(([a], [b]) => (down ? b - a : a - b));
  return [...some, ...none].map(([, row]) => row);
}

function showTable() {
  find("columns").replaceChildren(...columns().map(columnHead));
  find("rows").replaceChildren();
  find("totals").replaceChildren(...tableCells(totalCells()));
  showRows();
}

function columnHead(name, column) {
  const button = element("button", { type: "button" }, name);
  const head = element("th", { scope: "col" }, button);
  if (column === order.column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  button.onclick = () => {
    order = { column, down: column === order.column ? !order.down : column > 0 }; // of numbers, the largest first
    showTable();
    find("columns").children[column].firstChild.focus();
  };
  return head;
}

function showRows() {
  const from = find("rows").rows.length;
  const rows = sortedRows().slice(from, from + ROWS_AT_A_TIME);
  find("rows").append(...rows.map((row) => element("tr", {}, ...tableCells(rowCells(row)))));
  const shown = find("rows").rows.length;
  const all = report.rows.length;
  find("more").hidden = shown === all;
  find("rows-note").textContent =
    shown < all ? `${integer.format(shown)} of ${integer.format(all)} hours. The CSV has them all.` : `Hours in ${zoneText()}. Those without events are left out.`;
}

const zoneText = () => report.zones.slice(0, 3).join(" and ") || "UTC";

function tableCells([hour, ...values]) {
  const cells = values.map((value) => element("td", /^[0.]+%?$/.test(value) ? { class: "zero" } : {}, grouped(value)));
  return [element("th", { scope: "row" }, hour), ...cells];
}

// All rows in their order, for a spreadsheet.
async function copyTable() {
  const rows = [columns(), ...sortedRows().map((row) => rowCells(row, true)), totalCells()];
  const text = rows.map((cells) => cells.join("\t")).join("\n");
  find("copied").textContent = (await copyText(text)) ? `Copied ${integer.format(report.rows.length)} hours.` : "The browser does not let this page copy.";
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {} // not a secure address: the older way
  const area = element("textarea", { readonly: "", class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  find("copy").focus();
  return done;
}

// ---- Small helpers

const sum = (values) => values.reduce((total, value) => total + value, 0);

// Exact for any decimal: only whole digits are touched, and never as a float.
const grouped = (text) => text.replace(/^\d+/, (digits) => integer.format(BigInt(digits)));

const maker = (space) => (tag, attributes = {}, ...children) => {
  const node = document.createElementNS(space, tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
};
const element = maker("http://www.w3.org/1999/xhtml");
const svg = maker("http://www.w3.org/2000/svg");

find("more").onclick = showRows;
find("copy").onclick = copyTable;
