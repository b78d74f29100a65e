// Draws the report that report.js holds, as SVG: lines, one panel for each event type, a stack, or rates; with zoom and tooltip.
"use strict";

const HOUR = 3600000; // milliseconds
const MARGIN = { top: 28, right: 12, bottom: 44, left: 44 };
const DRAG = 8; // pixels from where a press is a drag
const DOTS = 48; // hours up to which each has a dot
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const hidden = new Set(); // names of the event types that the legend has turned off
const view = { mode: "", zoom: null, drag: null }; // zoom: first and last row shown; drag: where it began and is
let chart = null; // bars as drawn, and the one whose values are shown

function showChart() {
  view.zoom = view.drag = null;
  find("zoomed").textContent = "";
  view.mode ||= matchMedia("(max-width: 40rem)").matches ? "panels" : "lines";
  document.querySelector(`[name=mode][value=${view.mode}]`).checked = true;
  find("legend").replaceChildren(...report.series.map(legendItem));
  draw();
}

// ---- What is shown

function legendItem({ name, order }) {
  const toggle = element("button", { type: "button", class: `toggle s${order}` }, element("i"), name, element("b"));
  const only = element("button", { type: "button", class: "only", "aria-label": `Only ${name}` }, "only");
  toggle.onclick = () => {
    hidden.delete(name) || hidden.add(name);
    draw();
  };
  only.onclick = () => {
    const others = report.names.filter((other) => other !== name);
    const alone = isAlone(name);
    hidden.clear();
    if (!alone) others.forEach((other) => hidden.add(other));
    draw();
  };
  return element("div", {}, toggle, only);
}

const isAlone = (name) => !hidden.has(name) && hidden.size === report.names.length - 1;
const isRates = () => view.mode === "rates";

function seriesSeen() {
  const stages = STAGES.map(([name]) => name);
  return report.series.filter(({ name }) => !hidden.has(name) && (!isRates() || stages.includes(name)));
}

const valueOf = (bar, { name, order }) => (isRates() ? rate(bar.counts, name) : bar.counts[order]);

function shownRows() {
  const [from, to] = view.zoom ?? [0, report.rows.length - 1];
  return report.rows.slice(from, to + 1);
}

// ---- Drawing

function draw() {
  if (!report?.rows.length || find("report").hidden) return;
  const width = find("chart").clientWidth;
  const seen = seriesSeen();
  const groups = view.mode === "panels" ? seen.map((series) => [series]) : [seen];
  const inner = Math.max(80, width - MARGIN.left - MARGIN.right);
  const high = view.mode === "panels" ? 64 : Math.min(300, Math.max(200, width * 0.3));
  const step = high + MARGIN.top;
  const size = { width: inner, height: Math.max(1, groups.length) * step - MARGIN.top };
  chart = { ...layOut(shownRows(), inner), seen, size, selected: null };
  const root = svg("g", { transform: `translate(${MARGIN.left} ${MARGIN.top})` });
  root.append(svg("rect", { class: "band", height: size.height }), svg("rect", { class: "brush", height: size.height }));
  root.append(...groups.map((series, index) => panel(series, index * step, high)), ...breakMarks(), ...timeAxis());
  const height = size.height + MARGIN.top + MARGIN.bottom;
  const picture = svg("svg", { width, height, class: chart.slot >= 6 ? "wide" : "", "aria-hidden": "true" });
  picture.append(root);
  find("chart").style.height = `${height}px`;
  find("chart").replaceChildren(picture);
  find("chart").setAttribute("aria-valuemax", chart.bars.length);
  find("axis-note").textContent = axisNote();
  find("zone").textContent = `Time in ${zoneText()}`;
  find("zoom-all").disabled = find("zoom-out").disabled = !view.zoom;
  find("zoom-in").disabled = shownRows().length <= 2;
  select(null);
}

function panel(series, top, height) {
  const scale = scaleFor(series, height);
  const group = svg("g", { transform: `translate(0 ${top})` });
  group.append(...valueAxis(scale, series));
  const draws = view.mode === "stack" ? [stackPaths] : [linePaths, dots];
  for (const each of draws) group.append(...each(series, scale));
  return group;
}

// y: of a value, in pixels.
function scaleFor(series, height) {
  const { bars } = chart;
  const values = bars.map((bar) => series.map((each) => valueOf(bar, each) ?? 0));
  const high = Math.max(1, ...values.map((each) => (view.mode === "stack" ? sum(each) : Math.max(0, ...each))));
  const step = isRates() && high <= 2 ? (high <= 1 ? 0.25 : 0.5) : roundStep(high / (view.mode === "panels" ? 1.5 : 4));
  const top = Math.ceil(high / step) * step;
  return { step, top, height, y: (value) => (height * (1 - value / top)).toFixed(1) };
}

function valueAxis({ step, top, height, y }, series) {
  const { size } = chart;
  const title = isRates() ? "Share of video_start" : view.mode === "panels" ? series[0].name : `Events per ${unitName()}`;
  const marks = [svg("text", { x: -MARGIN.left, y: -10, class: view.mode === "panels" ? "title" : "" }, title)];
  for (let value = 0; value <= top; value += step) {
    const line = Math.round(y(value));
    marks.push(svg("line", { class: value ? "grid" : "base", x2: size.width, y1: line, y2: line }));
    marks.push(svg("text", { x: -8, y: line + 4, "text-anchor": "end" }, isRates() ? percent.format(value) : short.format(value)));
  }
  return marks;
}

const middle = (place) => ((place + 0.5) * chart.slot).toFixed(1);

// Hours that the report leaves out had no events: there a line of counts goes down to 0, and one of rates breaks off.
function linePaths(series, { y }) {
  return series.map((each) => {
    let path = "";
    let before = null;
    for (const bar of chart.bars) {
      const value = valueOf(bar, each);
      const gap = before === null ? 0 : bar.place - before;
      if (value !== null) {
        if (before === null || (gap > 1 && isRates())) path += `M${middle(bar.place)} ${y(value)}h0`;
        else path += `${gap > 1 ? `L${middle(before + 1)} ${y(0)}H${middle(bar.place - 1)}` : ""}L${middle(bar.place)} ${y(value)}`;
      }
      before = value === null ? null : bar.place;
    }
    return svg("path", { class: `line s${each.order}`, d: path });
  });
}

function dots(series, { y }) {
  if (chart.bars.length > DOTS) return [];
  const points = series.flatMap((each) => chart.bars.map((bar) => [each, bar, valueOf(bar, each)]));
  return points.filter(([, , value]) => value !== null).map(([each, bar, value]) => svg("circle", { class: `dot s${each.order}`, cx: middle(bar.place), cy: y(value), r: 3 }));
}

// Each series reaches down to the base line and the higher ones are drawn first: no seams between thin bars.
function stackPaths(series, { y, height }) {
  const { bars, slot } = chart;
  const wide = slot < 6 ? slot : Math.min(slot * 0.8, 64);
  const heights = bars.map(() => 0);
  const paths = series.map(({ order }) => {
    const boxes = bars.map((bar, index) => {
      heights[index] += bar.counts[order];
      if (!bar.counts[order]) return "";
      const centre = (bar.place + 0.5) * slot;
      const [left, right] = [centre - wide / 2, centre + wide / 2].map((x) => x.toFixed(2));
      return `M${left} ${height}V${y(heights[index])}H${right}V${height}z`;
    });
    return svg("path", { class: `bar s${order}`, d: boxes.join("") });
  });
  return paths.reverse();
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

function timeAxis() {
  const { width, height } = chart.size;
  let before = [];
  const ticks = timeTicks().flatMap(({ x, time }) => {
    const format = (options) => new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format((time + shiftAt(time)) * HOUR);
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
  const local = [...new Set(times.map((time) => time - shiftAt(time)))]; // round on the clocks of their own day
  return local.map((time) => ({ time, x: ((time - start) / unit + centre) * slot })).filter(({ x }) => x >= 0 && x <= size.width);
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
  if (cut) return `Not to scale: long times without events are cut short${unit > 1 ? ", and several hours share a point" : ""}.`;
  return unit > 1 ? `To fit, each ${view.mode === "stack" ? "bar" : "point"} is ${unit === 24 ? "a day" : unitName()}.` : "";
}

function unitName() {
  const { unit, cut } = chart;
  if (cut && unit > 1) return "point";
  if (unit < 24) return unit === 1 ? "hour" : `${unit} hours`;
  return unit === 24 ? "day" : `${integer.format(unit / 24)} days`;
}

// By how many hours clocks then differ from those of the report's first hour.
const shiftAt = (time) => chart.bars.findLast(({ rows }) => rows[0].time <= time)?.rows[0].shift ?? chart.bars[0].rows[0].shift;

// ---- The values of an hour

// Shows the values of one bar, or of all that is shown. at: where the pointer is, in pixels from the chart's top.
function select(index, at = 0) {
  const bar = chart.bars[index];
  chart.selected = bar ? index : null;
  const rows = bar ? bar.rows : shownRows();
  const { counts } = totals(rows);
  const title = bar ? rowsTitle(rows) : view.zoom ? rowsTitle(rows) : "Whole report";
  const completion = `completion rate ${rateText(rate(counts, "video_completed"))}`;
  find("readout").textContent = `${title}: ${completion}`;
  [...find("legend").children].forEach((item, order) => {
    const { name } = report.series[order];
    item.firstChild.setAttribute("aria-pressed", !hidden.has(name));
    item.lastChild.setAttribute("aria-pressed", isAlone(name));
    item.firstChild.lastChild.textContent = integer.format(counts[order]);
  });
  mark("band", bar ? (bar.place + 0.5) * chart.slot : 0, bar ? Math.max(chart.slot, 3) : 0);
  const parts = chart.seen.map(({ name, order }) => `${name} ${counts[order]}`);
  find("chart").setAttribute("aria-valuenow", (chart.selected ?? 0) + 1);
  find("chart").setAttribute("aria-valuetext", `${title}: ${[...parts, completion].join(", ")}`);
  showTip(bar, title, at);
}

function mark(name, centre, width) {
  const box = find("chart").querySelector(`.${name}`);
  box.setAttribute("x", centre - width / 2);
  box.setAttribute("width", width);
}

function showTip(bar, title, at) {
  find("tip").hidden = !bar;
  if (!bar) return;
  const { counts, scaled } = totals(bar.rows);
  const shares = Object.fromEntries(STAGES.map(([name]) => [name, rateText(rate(counts, name))]));
  const line = ({ name, order }) =>
    element("tr", { class: `s${order}` }, element("td", {}, element("i"), name), element("td", {}, integer.format(counts[order])), element("td", {}, shares[name] ?? ""));
  const last = element("tr", {}, element("td", {}, "impressions_scaled"), element("td", {}, grouped(scaled)), element("td"));
  find("tip").replaceChildren(element("b", {}, title), element("table", {}, ...report.series.map(line), last));
  const { offsetWidth, offsetHeight } = find("tip");
  const x = MARGIN.left + (bar.place + 0.5) * chart.slot;
  const left = x + 14 + offsetWidth > find("chart").clientWidth ? x - 14 - offsetWidth : x + 14;
  find("tip").style.left = `${Math.max(0, left)}px`;
  find("tip").style.top = `${Math.max(0, Math.min(at - 20, find("chart").clientHeight - offsetHeight))}px`;
}

function rowsTitle(rows) {
  const format = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" });
  const [first, last] = [rows[0], rows.at(-1)];
  const range = format.formatRange((first.time + first.shift) * HOUR, (last.time + last.shift) * HOUR);
  return report.zones.length > 1 ? `${range} (UTC${last.cells[0].slice(19)})` : range;
}

function barAt(x) {
  const place = (x - MARGIN.left) / chart.slot - 0.5;
  const distance = (index) => Math.abs(chart.bars[index].place - place);
  return chart.bars.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0);
}

// ---- Zoom

function zoomTo(from, to) {
  const last = report.rows.length - 1;
  const chosen = chart.bars[chart.selected]?.rows[0].index;
  const whole = from <= 0 && to >= last;
  view.zoom = whole ? null : [Math.max(0, from), Math.min(last, to)];
  draw();
  showFigures(shownRows());
  find("zoomed").textContent = whole ? "All hours are shown." : `The chart and the figures show ${integer.format(shownRows().length)} of ${integer.format(last + 1)} hours: ${rowsTitle(shownRows())}.`;
  const index = chart.bars.findIndex(({ rows }) => rows.some((row) => row.index === chosen));
  if (index >= 0) select(index);
}

// Around the hour whose values are shown, else around the middle. factor: of the number of hours.
function zoomBy(factor) {
  const rows = shownRows();
  const centre = chart.bars[chart.selected]?.rows[0].index ?? rows[rows.length >> 1].index;
  const count = Math.min(report.rows.length, Math.max(2, Math.round(rows.length * factor)));
  const from = Math.max(0, Math.min(report.rows.length - count, centre - (count >> 1)));
  zoomTo(from, from + count - 1);
}

// To hours beside those shown; false where there are none.
function shiftView(direction) {
  const [from, to] = view.zoom ?? [0, report.rows.length - 1];
  const step = direction * Math.max(1, (to - from) >> 1);
  const moved = Math.max(-from, Math.min(report.rows.length - 1 - to, step));
  if (moved) zoomTo(from + moved, to + moved);
  return moved !== 0;
}

function moveByKey(event) {
  const zooms = { "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2), "−": () => zoomBy(2), 0: () => zoomTo(0, Infinity) };
  const last = chart.bars.length - 1;
  const now = chart.selected ?? -1;
  const target = {
    ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageDown: now - 24, PageUp: now + 24, Home: 0, End: last,
  }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || (target === undefined && !zooms[event.key])) return;
  event.preventDefault();
  if (zooms[event.key]) return zooms[event.key]();
  const beyond = target < 0 ? -1 : target > last ? 1 : 0;
  const chosen = chart.bars[Math.min(last, Math.max(0, target))].rows[0].index;
  if (beyond && shiftView(beyond)) select(chart.bars.findIndex(({ rows }) => rows.some(({ index }) => index === chosen)));
  else select(Math.min(last, Math.max(0, target)));
}

const place = (event) => event.clientX - find("chart").getBoundingClientRect().left;
const depth = (event) => event.clientY - find("chart").getBoundingClientRect().top;

function startDrag(event) {
  if (event.button === 0) view.drag = { from: place(event), to: place(event) };
  find("chart").setPointerCapture(event.pointerId);
  select(barAt(place(event)), depth(event));
}

function moveDrag(event) {
  if (view.drag) view.drag.to = place(event);
  if (!isDragged()) return select(barAt(place(event)), depth(event));
  select(null);
  const [left, right] = [view.drag.from, view.drag.to].sort((a, b) => a - b).map((x) => Math.max(0, Math.min(chart.size.width, x - MARGIN.left)));
  mark("brush", (left + right) / 2, right - left);
}

const isDragged = () => view.drag && Math.abs(view.drag.to - view.drag.from) >= DRAG;

function endDrag() {
  const [from, to] = isDragged() ? [view.drag.from, view.drag.to].sort((a, b) => a - b).map(barAt) : [];
  view.drag = null;
  if (from === undefined) return;
  mark("brush", 0, 0);
  const [first, last] = [chart.bars[from].rows[0].index, chart.bars[to].rows.at(-1).index];
  if (last > first) zoomTo(first, last);
}

function stopDrag() {
  view.drag = null;
  if (chart) mark("brush", 0, 0);
}

// The smallest of 1, 2, 5, 10, 20, 50 ... that is at least this.
function roundStep(least) {
  const power = 10 ** Math.max(0, Math.floor(Math.log10(least)));
  return [1, 2, 5, 10].find((digit) => digit * power >= least) * power;
}

// ---- Wiring

document.getElementById("modes").onchange = ({ target }) => {
  view.mode = target.value;
  draw();
};
for (const [id, act] of [["zoom-in", () => zoomBy(0.5)], ["zoom-out", () => zoomBy(2)], ["zoom-all", () => zoomTo(0, Infinity)]]) {
  document.getElementById(id).onclick = act;
}
{
  const area = document.getElementById("chart");
  area.onpointerdown = startDrag;
  area.onpointermove = moveDrag;
  area.onpointerup = endDrag;
  area.onpointercancel = stopDrag;
  area.onpointerleave = ({ pointerType }) => pointerType === "mouse" && !view.drag && select(null); // what a finger chose stays
  area.onkeydown = moveByKey;
  area.onfocus = () => select(chart.selected ?? 0);
  area.onblur = () => select(null);
  let width = 0;
  new ResizeObserver(() => {
    if (area.clientWidth !== width) draw(); // its height is the drawing's own
    width = area.clientWidth;
  }).observe(area);
}
