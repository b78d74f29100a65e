// Sends events to the server and shows the report or the reasons why there is none.
// Text from the server only ever goes through textContent.

const SAMPLE = [
  ["c8e3-ace6-4852-a32f", "video_25", 1617393003],
  ["af77-79b6-4fe6-8645", "video_25", 1617400203],
  ["75c3-2a09-4ac6-a38a", "video_25", 1617385803],
  ["a6dc-030b-4fb5-891d", "video_50", 1617400203],
  ["9919-b79c-4897-b3e4", "video_completed", 1617400203],
  ["d008-a738-45f3-a3fb", "video_start", 1617385803],
].map(([id, event, timestamp]) => JSON.stringify({ id, event, timestamp })).join("\n");
const ROWS_AT_A_TIME = 1000;
const HOUR = 3600000; // milliseconds
const MARGIN = { top: 28, right: 12, bottom: 44, left: 44 };

const find = (id) => document.getElementById(id);
const integer = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent" });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const still = matchMedia("(prefers-reduced-motion: reduce)");
const hidden = new Set(); // names of the event types that the legend has turned off
const server = JSON.parse(document.querySelector("meta[name=server]").content); // its limit, and how it makes reports
const megabytes = (bytes) => (bytes < 1e5 ? `${integer.format(bytes)} bytes` : `${(bytes / 1e6).toFixed(1)} MB`);
let running = null; // the request under way
let sent = null; // what "Send again" sends
let token = "";
let report = null;
let chart = null; // bars as drawn, and the one whose values are shown

// ---- Sending

async function send(name, body) {
  running?.abort();
  const request = (running = new XMLHttpRequest());
  sent = { name, body };
  showRunning(true);
  showProgress(`Sending ${name} …`, 0);
  try {
    const encoding = encodingOf(new Uint8Array(await body.slice(0, 4).arrayBuffer()));
    if (running !== request) return;
    if (body.size > server.limit) return void finish(() => showProblem(tooLarge(body.size)));
    request.open("POST", `./${query()}`);
    request.responseType = "blob";
    if (encoding) request.setRequestHeader("Content-Encoding", encoding);
    if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  } catch (error) {
    if (running === request) finish(() => showProblem(refusedBefore(error)));
    return;
  }
  request.upload.onprogress = ({ loaded, total }) =>
    showProgress(`Sending ${name} …`, loaded / total, `${percent.format(loaded / total)} of ${megabytes(total)}`);
  request.upload.onload = () => showProgress("Making the report …");
  request.onerror = () => finish(() => showProblem(WORDS.network));
  request.onload = async () => {
    const text = await request.response.text();
    if (running === request) finish(() => showAnswer(request, text));
  };
  request.send(body);
}

function showAnswer(request, text) {
  if (request.status === 200 && text.startsWith("hour,")) showReport(request, text);
  else showProblem(explain(request, text));
}

// Parquet and bzip2 the server tells by itself.
function encodingOf([first, second, third, fourth]) {
  if (first === 0x1f && second === 0x8b) return "gzip";
  return first === 0x28 && second === 0xb5 && third === 0x2f && fourth === 0xfd ? "zstd" : "";
}

// What differs from how the server makes reports anyway.
function query() {
  const zone = find("time-zone").value.trim();
  const factor = find("factor").value.trim();
  const asked = new URLSearchParams();
  if (zone && zone !== server.zone) asked.set(/^[+-]\d/.test(zone) ? "utc_offset" : "time_zone", zone);
  if (factor && factor !== server.factor) asked.set("impressions_factor", factor);
  if (find("skip").checked !== server.skip) asked.set("rejects", find("skip").checked ? "skip" : "refuse");
  if (find("once").checked !== server.deduplicate) asked.set("deduplicate", find("once").checked);
  return asked.size ? `?${asked}` : "";
}

function showOptions() {
  find("time-zone").value = server.zone;
  find("factor").value = server.factor;
  find("skip").checked = server.skip;
  find("once").checked = server.deduplicate;
  find("limit").textContent = `, up to ${megabytes(server.limit)} (also when unpacked)`;
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = new Set([server.zone, own, "+01:00", "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  find("zones").replaceChildren(...[...zones].map((value) => element("option", { value })));
}

function sendFiles(files) {
  if (files.length > 1) say("One file at a time, please.");
  else if (files.length) send(files[0].name, files[0]);
}

function sendText() {
  const text = find("text").value;
  if (text.trim()) return void send("the pasted text", new Blob([text]));
  say("Paste some events first, or choose a file.");
  find("text").focus();
}

function finish(show) {
  running = null;
  showRunning(false);
  show();
}

function cancel() {
  running?.abort();
  finish(() => say("Cancelled."));
}

function showRunning(on) {
  const focused = [find("make"), find("cancel")].includes(document.activeElement);
  document.body.classList.toggle("running", on);
  find("apply").hidden = on || !sent;
  find("make").hidden = on;
  find("cancel").hidden = !on;
  if (focused) find(on ? "cancel" : "make").focus();
}

function showProgress(phase, share, words) {
  say(phase, words);
  if (share === undefined) find("progress").removeAttribute("value");
  else find("progress").value = share;
}

// Only the first part is announced: a screen reader need not read every percent.
function say(phase, share = "") {
  if (find("status").textContent !== phase) find("status").textContent = phase;
  find("share").textContent = share;
}

// ---- What went wrong

const WORDS = {
  400: ["Some records are not events", "A report is made only when every record is an event. Correct these and send it once more, or leave out invalid records."],
  401: ["This server asks for a token", "Enter the token that you were given. It is kept until you leave this page."],
  413: ["This is too large", "Send it in smaller parts. The limit also holds for what a .gz file unpacks to."],
  415: ["The server does not read this compression", "Send the events as they are, or compressed with gzip."],
  503: ["The server is busy", "All its places are taken."],
  failed: ["The server failed", "This is not about what you sent. Try it again later."],
  network: [
    "The connection failed",
    "The server could not be reached, or hung up while the events were on their way. It may be down, and some servers hang up on what is too large.",
  ],
};

function explain(request, text) {
  const { status } = request;
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {} // a proxy's own page, say: then the status has to do
  let [title, advice] = WORDS[status] ?? (status >= 500 ? WORDS.failed : [`The server answered with status ${status}`, ""]);
  if (status === 401 && token) title = "The server does not accept this token";
  if (status === 400 && !problem.rejects) [title, advice] = ["This could not be read", ""];
  if (!problem.rejects && /\b(time zone|UTC offset|factor|parameter)\b/.test(problem.detail)) title = "This option does not work";
  const wait = request.getResponseHeader("Retry-After");
  if (status === 503) advice += ` Try again in ${/^\d+$/.test(wait) ? `${wait} s` : "a moment"}.`;
  return [title, advice, problem, status];
}

const tooLarge = (size) => [...WORDS[413], { detail: `It has ${megabytes(size)}; the limit of this server is ${megabytes(server.limit)}.` }, 413];

function refusedBefore(error) {
  return error.name === "NotReadableError" || error.name === "NotFoundError"
    ? ["This file could not be read", "It may be a folder, or have been moved or changed since it was chosen."]
    : ["This token cannot be sent", "It holds characters that no token has. Enter it once more.", {}, 401];
}

function showProblem([title, advice, problem = {}, status]) {
  const rejects = Array.isArray(problem.rejects) ? problem.rejects : [];
  find("report").hidden = true;
  say("");
  find("problem-title").textContent = title;
  find("problem-advice").textContent = advice;
  find("problem-detail").textContent = problem.detail ?? "";
  showRejects(rejects);
  const left = problem.rejected - rejects.length;
  find("more-rejects").textContent = left > 0 ? `And ${integer.format(left)} more.` : "";
  find("token-field").hidden = status !== 401;
  find("again").hidden = status >= 400 && status < 500 && status !== 401; // the same again would fail again
  find("problem").hidden = false;
  reveal("problem", status === 401 ? "token" : "problem-title");
}

// Line, index and byte are columns where at least one record has them.
function showRejects(rejects) {
  const places = [["Line", "line"], ["Index", "index"], ["Byte", "offset"]].filter(([, key]) => rejects.some((reject) => reject[key] != null));
  const head = (name) => element("th", { scope: "col" }, name);
  const row = (reject) => {
    const numbers = places.map(([, key]) => element("td", {}, reject[key] == null ? "–" : integer.format(reject[key])));
    return element("tr", {}, ...numbers, element("td", { class: "reason" }, reject.reason), element("td", { class: "raw" }, ...marked(reject)));
  };
  find("rejects-head").replaceChildren(...[...places.map(([name]) => name), "Reason", "Record"].map(head));
  find("rejects").replaceChildren(...rejects.map(row));
  find("rejects-box").hidden = !rejects.length;
}

// The record's text with what the reason is about marked: a place, a quoted name or value, or the member that it names.
function marked({ reason, raw }) {
  if (typeof raw !== "string") return ["–"];
  const [start, end] = faulty(reason, raw);
  return [raw.slice(0, start), element("mark", {}, raw.slice(start, end)), raw.slice(end)];
}

function faulty(reason, raw) {
  const whole = [0, raw.length];
  const place = /at character (\d+)/.exec(reason);
  if (place) return +place[1] < raw.length ? [+place[1], +place[1] + 1] : whole;
  const quoted = /(['"])(.+)\1/.exec(reason)?.[2];
  if (quoted && raw.includes(quoted)) return [raw.lastIndexOf(quoted), raw.lastIndexOf(quoted) + quoted.length];
  const name = /\b(id|event|timestamp)\b/.exec(reason)?.[1];
  const member = new RegExp(`"${name}"\\s*:\\s*("(?:[^"\\\\]|\\\\.)*"|[^\\s,}\\]]+)`).exec(raw);
  return member ? [member.index, member.index + member[0].length] : whole;
}

// ---- The report

function showReport(request, text) {
  report = parse(text);
  let summary = {};
  try {
    summary = JSON.parse(request.getResponseHeader("X-Report-Summary")) ?? {};
  } catch {} // the table does without
  URL.revokeObjectURL(find("download").href);
  find("download").href = URL.createObjectURL(request.response);
  for (const node of document.querySelectorAll("[data-key]")) node.textContent = grouped(String(summary[node.dataset.key] ?? "–"));
  find("problem").hidden = true;
  find("report").hidden = false;
  find("chart-card").hidden = !report.rows.length;
  say(report.rows.length ? "The report is ready." : "The report is ready: it has no events.");
  find("columns").replaceChildren(...report.header.map((name) => element("th", { scope: "col" }, name)));
  find("rows").replaceChildren();
  showRows();
  find("legend").replaceChildren(...report.series.map(legendButton));
  draw();
  reveal("summary", "report-title");
}

function parse(text) {
  const [header, ...lines] = text.trimEnd().split("\n").map((line) => line.split(","));
  const names = header.slice(1, -1); // between the hour and the scaled impressions
  const rows = lines.map((cells) => ({
    cells,
    time: Date.parse(`${cells[0].slice(0, 19)}Z`) / HOUR, // hours on the report's own clock
    counts: cells.slice(1, -1).map(Number),
  }));
  const series = names.map((name, order) => ({ name, order, total: sum(rows.map(({ counts }) => counts[order])) }));
  return { header, series, rows, zone: lines.length ? `UTC${lines[0][0].slice(19)}` : "UTC+01:00" };
}

function showRows() {
  const from = find("rows").rows.length;
  find("rows").append(...report.rows.slice(from, from + ROWS_AT_A_TIME).map(tableRow));
  const shown = find("rows").rows.length;
  const all = report.rows.length;
  find("more").hidden = shown === all;
  find("rows-note").textContent =
    shown < all
      ? `${integer.format(shown)} of ${integer.format(all)} hours. The CSV has them all.`
      : `Hours in ${report.zone}. Those without events are left out.`;
}

function tableRow({ cells: [hour, ...counts] }) {
  const cells = counts.map((count) => element("td", /^[0.]+$/.test(count) ? { class: "zero" } : {}, grouped(count)));
  return element("tr", {}, element("th", { scope: "row" }, hour.slice(0, 16).replace("T", " ")), ...cells);
}

// Exact for any decimal: only whole digits are touched, and never as a float.
const grouped = (text) => text.replace(/^\d+/, (digits) => integer.format(BigInt(digits)));

// ---- The chart

function legendButton({ name, order }) {
  const button = element("button", { type: "button", class: `s${order % 6}` }, element("i"), name, element("b"));
  button.onclick = () => {
    hidden.delete(name) || hidden.add(name);
    draw();
  };
  return button;
}

function draw() {
  if (!report?.rows.length || find("report").hidden) return;
  const { clientWidth: width, clientHeight: height } = find("chart");
  const size = { width: Math.max(80, width - MARGIN.left - MARGIN.right), height: height - MARGIN.top - MARGIN.bottom };
  chart = { ...layOut(report.rows, size.width), size, selected: null };
  const seen = report.series.filter(({ name }) => !hidden.has(name));
  const high = Math.max(1, ...chart.bars.map((bar) => sum(seen.map(({ order }) => bar.counts[order]))));
  const step = roundStep(high / 4);
  chart.seen = seen;
  chart.top = Math.ceil(high / step) * step;
  const root = svg("g", { transform: `translate(${MARGIN.left} ${MARGIN.top})` });
  root.append(...valueAxis(step), svg("rect", { class: "band", height: size.height }), ...seriesPaths(), ...breakMarks(), ...timeAxis());
  const picture = svg("svg", { width, height, class: chart.slot >= 6 ? "wide" : "", "aria-hidden": "true" });
  picture.append(root);
  find("chart").replaceChildren(picture);
  find("chart").setAttribute("aria-valuemax", chart.bars.length);
  find("axis-note").textContent = axisNote();
  find("zone").textContent = `Time in ${report.zone}`;
  select(null);
}

// One bar an hour on a true time axis. Where that would be less than a pixel an hour, bars of more hours; where nearly all of
// a huge range is empty (1970 and 9999 in one report), long gaps are cut short and marked.
function layOut(rows, width) {
  const span = rows.at(-1).time - rows[0].time + 1;
  let unit = unitFor(span, width);
  const steps = rows.slice(1).map((row, index) => row.time - rows[index].time);
  const long = steps.filter((step) => step > 24).length;
  const cut = unit > 24 && rows.length * 20 < span ? Math.max(3, Math.ceil(rows.length / 30 / long)) : Infinity;
  const places = [rows[0].time];
  const gaps = [];
  steps.forEach((gap, index) => {
    if (gap > cut) gaps.push(places[index] + (cut + 1) / 2);
    places.push(places[index] + Math.min(gap, cut));
  });
  unit = unitFor(places.at(-1) - places[0] + 1, width);
  const first = Math.floor(places[0] / unit);
  const slots = Math.floor(places.at(-1) / unit) - first + 1;
  const bars = [];
  rows.forEach((row, index) => {
    const place = Math.floor(places[index] / unit) - first;
    if (bars.at(-1)?.place !== place) bars.push({ place, rows: [], counts: row.counts.map(() => 0) });
    const bar = bars.at(-1);
    bar.rows.push(row);
    row.counts.forEach((count, order) => (bar.counts[order] += count));
  });
  return { bars, unit, slots, slot: width / slots, cut: cut < Infinity, start: first * unit, gaps: gaps.map((place) => place / unit - first) };
}

function unitFor(hours, width) {
  return [1, 2, 3, 6, 12, 24, 48, 168, 336, 672].find((unit) => hours / unit <= width) ?? Math.ceil(hours / width / 672) * 672;
}

// Each series reaches down to the base line and the higher ones are drawn first: no seams between thin bars.
function seriesPaths() {
  const { bars, slot, size, top, seen } = chart;
  const wide = slot < 6 ? slot : Math.min(slot * 0.8, 64);
  const heights = bars.map(() => 0);
  const paths = seen.map(({ order }) => {
    const boxes = bars.map((bar, index) => {
      heights[index] += bar.counts[order];
      if (!bar.counts[order]) return "";
      const middle = (bar.place + 0.5) * slot;
      const [left, right] = [middle - wide / 2, middle + wide / 2].map((x) => x.toFixed(2));
      const y = (size.height * (1 - heights[index] / top)).toFixed(2);
      return `M${left} ${size.height}V${y}H${right}V${size.height}z`;
    });
    return svg("path", { class: `bar s${order % 6}`, d: boxes.join("") });
  });
  return paths.reverse();
}

function valueAxis(step) {
  const { size, top } = chart;
  const marks = [svg("text", { x: -MARGIN.left, y: -10 }, `Events per ${unitName()}`)];
  for (let value = 0; value <= top; value += step) {
    const y = Math.round(size.height * (1 - value / top));
    marks.push(svg("line", { class: "grid", x2: size.width, y1: y, y2: y }));
    marks.push(svg("text", { x: -8, y: y + 4, "text-anchor": "end" }, short.format(value)));
  }
  return marks;
}

function timeAxis() {
  const { width, height } = chart.size;
  let before = [];
  const ticks = timeTicks().flatMap(({ x, time }) => {
    const format = (options) => new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(time * HOUR);
    const day = format({ day: "numeric", month: "short" });
    const labels = chart.tickHours < 24 ? [format({ timeStyle: "short" }), day] : [day, format({ year: "numeric" })];
    const texts = labels.map((text, line) => svg("text", { x, y: height + 20 + 16 * line, "text-anchor": "middle" }, text));
    const fresh = texts.filter((_, line) => labels.slice(line).some((text, index) => text !== before[line + index]));
    before = labels;
    return [svg("line", { class: "base", x1: x, x2: x, y1: height, y2: height + 5 }), ...fresh];
  });
  return [svg("line", { class: "base", x2: width, y1: height, y2: height }), ...ticks];
}

// On a cut axis, whatever bars have room for a label; else round hours, days or months.
function timeTicks() {
  const { bars, slot, slots, unit, start, size, cut } = chart;
  const room = 76;
  if (cut) {
    let last = -Infinity;
    chart.tickHours = 24;
    const centres = bars.map((bar) => ({ x: (bar.place + 0.5) * slot, time: bar.rows[0].time }));
    return centres.filter(({ x }) => x - last >= room && (last = x, true));
  }
  const hours = (slots * unit * room) / size.width;
  const step = [1, 2, 3, 6, 12, 24, 48, 96, 168, 336].find((each) => each >= hours && each >= unit);
  chart.tickHours = step ?? 720;
  const end = start + slots * unit;
  const times = step ? roundHours(start, end, step) : roundMonths(start, end, Math.ceil(hours / 720));
  const centre = unit === 1 ? 0.5 : 0;
  return times.map((time) => ({ time, x: ((time - start) / unit + centre) * slot })).filter(({ x }) => x <= size.width);
}

function roundHours(start, end, step) {
  const first = Math.ceil(start / step);
  return Array.from({ length: Math.ceil(end / step) - first }, (_, index) => (first + index) * step);
}

function roundMonths(start, end, months) {
  const step = [1, 2, 3, 6, 12].find((each) => each >= months) ?? roundStep(months / 12) * 12;
  const date = new Date(start * HOUR);
  const times = [];
  for (let month = Math.ceil((date.getUTCFullYear() * 12 + date.getUTCMonth()) / step) * step; ; month += step) {
    const time = new Date(0).setUTCFullYear(0, month, 1) / HOUR;
    if (time >= end) return times;
    if (time >= start) times.push(time);
  }
}

function breakMarks() {
  const { gaps, slot, size } = chart;
  return gaps.length > 40 ? [] : gaps.map((place) => svg("line", { class: "break", x1: place * slot, x2: place * slot, y2: size.height }));
}

function axisNote() {
  const { unit, cut } = chart;
  if (cut) return `Not to scale: long times without events are cut short${unit > 1 ? ", and several hours share a bar" : ""}.`;
  return unit > 1 ? `To fit, each bar is ${unit === 24 ? "a day" : unitName()}.` : "";
}

function unitName() {
  const { unit, cut } = chart;
  if (cut && unit > 1) return "bar";
  if (unit < 24) return unit === 1 ? "hour" : `${unit} hours`;
  return unit === 24 ? "day" : `${integer.format(unit / 24)} days`;
}

// Shows the values of one bar, or of the whole report.
function select(index) {
  const bar = chart.bars[index];
  chart.selected = bar ? index : null;
  const values = bar ? bar.counts : report.series.map(({ total }) => total);
  const count = sum(chart.seen.map(({ order }) => values[order]));
  const total = `${integer.format(count)} ${count === 1 ? "event" : "events"}`;
  const title = bar ? barTitle(bar) : "Whole report";
  find("readout").textContent = `${title}: ${total}`;
  [...find("legend").children].forEach((button, order) => {
    button.setAttribute("aria-pressed", !hidden.has(report.series[order].name));
    button.lastChild.textContent = integer.format(values[order]);
  });
  const band = find("chart").querySelector(".band");
  const width = Math.max(chart.slot, 3);
  band.setAttribute("width", bar ? width : 0);
  if (bar) band.setAttribute("x", (bar.place + 0.5) * chart.slot - width / 2);
  const parts = chart.seen.filter(({ order }) => values[order]).map(({ name, order }) => `${name} ${values[order]}`);
  find("chart").setAttribute("aria-valuenow", (chart.selected ?? 0) + 1);
  find("chart").setAttribute("aria-valuetext", `${title}: ${[total, ...parts].join(", ")}`);
}

function barTitle({ rows }) {
  const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
  return format.formatRange(rows[0].time * HOUR, rows.at(-1).time * HOUR);
}

function nearestBar(event) {
  const place = (event.clientX - find("chart").getBoundingClientRect().left - MARGIN.left) / chart.slot - 0.5;
  const distance = (index) => Math.abs(chart.bars[index].place - place);
  return chart.bars.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0);
}

function moveByKey(event) {
  const last = chart.bars.length - 1;
  const now = chart.selected ?? -1;
  const target = {
    ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageDown: now - 24, PageUp: now + 24, Home: 0, End: last,
  }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  select(Math.min(last, Math.max(0, target)));
}

// ---- Small helpers

const sum = (values) => values.reduce((total, value) => total + value, 0);

// The smallest of 1, 2, 5, 10, 20, 50 ... that is at least this.
function roundStep(least) {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(least)));
  return [1, 2, 5, 10].find((digit) => digit * power >= least) * power;
}

const maker = (space) => (tag, attributes = {}, ...children) => {
  const node = document.createElementNS(space, tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
};
const element = maker("http://www.w3.org/1999/xhtml");
const svg = maker("http://www.w3.org/2000/svg");

function reveal(section, focused) {
  find(focused).focus({ preventScroll: true });
  find(section).scrollIntoView({ behavior: still.matches ? "auto" : "smooth", block: section === "summary" ? "start" : "nearest" });
}

// ---- Wiring

find("file").onchange = ({ target }) => {
  sendFiles(target.files);
  target.value = ""; // so that the same file can be chosen again after a correction
};
find("make").onclick = sendText;
find("cancel").onclick = cancel;
find("more").onclick = showRows;
find("sample").onclick = () => {
  if (!find("text").value.trim()) find("text").value = SAMPLE;
  send("the sample", new Blob([SAMPLE]));
};
find("apply").onclick = () => send(sent.name, sent.body);
find("again").onsubmit = (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  send(sent.name, sent.body);
};
document.onkeydown = (event) => {
  if (event.key === "Escape" && running) cancel();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === find("text")) sendText();
};
document.ondragover = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("drop").classList.add("over");
};
document.ondragleave = () => find("drop").classList.remove("over");
document.ondrop = (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("drop").classList.remove("over");
  sendFiles(event.dataTransfer.files);
};
find("chart").onpointermove = find("chart").onpointerdown = (event) => select(nearestBar(event));
find("chart").onpointerleave = ({ pointerType }) => pointerType === "mouse" && select(null); // what a finger chose stays
find("chart").onkeydown = moveByKey;
find("chart").onfocus = () => select(chart.selected ?? 0);
find("chart").onblur = () => select(null);
new ResizeObserver(draw).observe(find("chart"));
showOptions();
