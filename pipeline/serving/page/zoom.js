// Selects bars and zooms, with a pointer, by touch or from the keyboard.

const MIN_DRAG = 8; // pixels; a longer movement is a drag
let drag = null; // start and current position of the pointer

// Shows the values of one bar or of the visible range. at: height of the pointer in pixels from the top of the chart.
function select(index, at = 0) {
  const bar = chart.bars[index];
  chart.selected = bar ? index : null;
  const counts = bar?.counts ?? totals(visibleRows());
  const title = bar ? barTitle(bar, chart.unit) : view.zoom ? rangeTitle(visibleRows(), chart.unit) : "Whole report";
  const completion = `completion rate ${rateText(rateOf(counts, RATES.at(-1)))}`;
  find("readout").textContent = `${title}: ${completion}`;
  seriesOfMode().forEach(({ name, text }, place) => {
    const [toggle, only] = find("legend").children[place].children;
    toggle.setAttribute("aria-pressed", !view.hidden.has(name));
    only.setAttribute("aria-pressed", isOnlyVisible(name));
    toggle.lastChild.textContent = text(counts);
  });
  mark("band", bar ? (bar.place + 0.5) * chart.slot : 0, bar ? Math.max(chart.slot, 3) : 0);
  const parts = chart.visible.map(({ label, text }) => `${label} ${text(counts)}`);
  find("chart").setAttribute("aria-valuenow", (chart.selected ?? 0) + 1);
  find("chart").setAttribute("aria-valuetext", `${title}: ${[...parts, ...(isRates() ? [] : [completion])].join(", ")}`);
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
  const shares = Object.fromEntries(RATES.map((rate) => [rate.name, rateText(rateOf(bar.counts, rate))]));
  const line = ({ name, order }) =>
    element("tr", { class: `s${order}` }, element("td", {}, element("i"), name), element("td", {}, integer.format(bar.counts[order])), element("td", {}, shares[name] ?? ""));
  find("tip").replaceChildren(element("b", {}, title), element("table", {}, ...COUNT_SERIES.map(line)));
  const { offsetWidth, offsetHeight } = find("tip");
  const x = MARGIN.left + (bar.place + 0.5) * chart.slot;
  const left = x + 14 + offsetWidth > find("chart").clientWidth ? x - 14 - offsetWidth : x + 14;
  find("tip").style.left = `${Math.max(0, left)}px`;
  find("tip").style.top = `${Math.max(0, Math.min(at - 20, find("chart").clientHeight - offsetHeight))}px`;
}

function barAt(x) {
  const place = (x - MARGIN.left) / chart.slot - 0.5;
  const distance = (index) => Math.abs(chart.bars[index].place - place);
  return chart.bars.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0);
}

function zoomTo(from, to) {
  const last = report.rows.length - 1;
  const chosen = chart.bars[chart.selected]?.rows[0].index;
  changeView({ zoom: from <= 0 && to >= last ? null : [Math.max(0, from), Math.min(last, to)] });
  showZoom();
  selectRow(chosen);
}

function showZoom() {
  const [shown, all] = [visibleRows(), report.rows.length];
  find("zoomed").textContent = view.zoom
    ? `The chart and the figures show ${integer.format(shown.length)} of ${integer.format(all)} hours: ${rangeTitle(shown, 1)}.`
    : "All hours are shown.";
}

const zoomedHours = () => view.zoom?.map((index) => report.rows[index].hour);

// hours: first and last visible hour; ignored if they are not in the report.
function restoreZoom(hours) {
  const [from, to] = (hours ?? []).map((hour) => report?.rows.findIndex((row) => row.hour === hour) ?? -1);
  if (from >= 0 && to > from) zoomTo(from, to);
}

function selectRow(index) {
  const bar = chart?.bars.findIndex(({ rows }) => rows[0].index <= index && index <= rows.at(-1).index);
  if (bar >= 0) select(bar);
}

// Zooms around the selected hour or the middle. factor: scales the number of visible hours.
function zoomBy(factor) {
  const rows = visibleRows();
  const centre = chart.bars[chart.selected]?.rows[0].index ?? rows[rows.length >> 1].index;
  const count = Math.min(report.rows.length, Math.max(2, Math.round(rows.length * factor)));
  const from = Math.max(0, Math.min(report.rows.length - count, centre - (count >> 1)));
  zoomTo(from, from + count - 1);
}

// Moves to earlier or later hours; false at the end of the report.
function shiftView(direction) {
  const [from, to] = view.zoom ?? [0, report.rows.length - 1];
  const step = direction * Math.max(1, (to - from) >> 1);
  const moved = Math.max(-from, Math.min(report.rows.length - 1 - to, step));
  if (moved) zoomTo(from + moved, to + moved);
  return moved !== 0;
}

const zoomAll = () => zoomTo(0, Infinity);
const ZOOM_KEYS = { "+": () => zoomBy(0.5), "=": () => zoomBy(0.5), "-": () => zoomBy(2), "−": () => zoomBy(2), 0: zoomAll };

function moveByKey(event) {
  const last = chart.bars.length - 1;
  const now = chart.selected ?? -1;
  const target = {
    ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1, PageDown: now - 24, PageUp: now + 24, Home: 0, End: last,
  }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || (target === undefined && !ZOOM_KEYS[event.key])) return;
  event.preventDefault();
  if (ZOOM_KEYS[event.key]) return ZOOM_KEYS[event.key]();
  const nearest = Math.min(last, Math.max(0, target));
  const chosen = chart.bars[nearest].rows[0].index;
  if (target !== nearest && shiftView(Math.sign(target - nearest))) selectRow(chosen);
  else select(nearest);
}

const xOf = (event) => event.clientX - find("chart").getBoundingClientRect().left;
const yOf = (event) => event.clientY - find("chart").getBoundingClientRect().top;

function startDrag(event) {
  if (event.button === 0) drag = { from: xOf(event), to: xOf(event) };
  find("chart").setPointerCapture(event.pointerId);
  select(barAt(xOf(event)), yOf(event));
}

function moveDrag(event) {
  if (drag) drag.to = xOf(event);
  if (!isDragged()) return select(barAt(xOf(event)), yOf(event));
  select(null);
  const [left, right] = [drag.from, drag.to].sort((a, b) => a - b).map((x) => Math.max(0, Math.min(chart.size.width, x - MARGIN.left)));
  mark("brush", (left + right) / 2, right - left);
}

const isDragged = () => drag && Math.abs(drag.to - drag.from) >= MIN_DRAG;

function endDrag() {
  const [from, to] = isDragged() ? [drag.from, drag.to].sort((a, b) => a - b).map(barAt) : [];
  stopDrag();
  if (from === undefined) return;
  const [first, last] = [chart.bars[from].rows[0].index, chart.bars[to].rows.at(-1).index];
  if (last > first) zoomTo(first, last);
}

function stopDrag() {
  drag = null;
  if (chart) mark("brush", 0, 0);
}

find("modes").onchange = ({ target }) => changeView({ chart: target.value });
find("step").onchange = ({ target }) => changeView({ step: target.value });
for (const [id, act] of [["zoom-in", () => zoomBy(0.5)], ["zoom-out", () => zoomBy(2)], ["zoom-all", zoomAll]]) find(id).onclick = act;
{
  const area = find("chart");
  Object.assign(area, { onpointerdown: startDrag, onpointermove: moveDrag, onpointerup: endDrag, onpointercancel: stopDrag, onkeydown: moveByKey });
  area.onpointerleave = ({ pointerType }) => pointerType === "mouse" && !drag && select(null); // a selection by touch stays
  area.onfocus = () => select(chart.selected ?? 0);
  area.onblur = () => select(null);
  let width = 0;
  new ResizeObserver(() => {
    if (area.clientWidth !== width) draw(); // the height follows from the drawing
    width = area.clientWidth;
  }).observe(area);
}
