// Draws the report as SVG (lines, one panel per event type, stacked bars, or rates) with its legend.

const MAX_DOTS = 48; // points have dots up to this number of bars
const COUNT_SERIES = EVENTS.map((name, order) => ({ name, order, label: name, value: (counts) => counts[order], text: (counts) => integer.format(counts[order]) }));
const RATE_SERIES = RATES.map((rate) => ({ ...rate, order: EVENTS.indexOf(rate.name), value: (counts) => rateOf(counts, rate), text: (counts) => rateText(rateOf(counts, rate)) }));
const view = { chart: "", step: "auto", zoom: null, compare: "", hidden: new Set() }; // zoom: indexes of the first and last row
let chart = null; // the current layout and the selected bar

const isRates = () => view.chart === "rates";
const seriesOfMode = () => (isRates() ? RATE_SERIES : COUNT_SERIES);
const visibleSeries = () => seriesOfMode().filter(({ name }) => !view.hidden.has(name));

function visibleRows() {
  const [from, to] = view.zoom ?? [0, report.rows.length - 1];
  return report.rows.slice(from, to + 1);
}

// Redraws after a change of the view and notifies the page.
function changeView(changes) {
  Object.assign(view, changes);
  showView();
  document.dispatchEvent(new Event("viewchange"));
}

function showView() {
  view.chart ||= matchMedia("(max-width: 40rem)").matches ? "panels" : "lines";
  document.querySelector(`[name=mode][value=${view.chart}]`).checked = true;
  find("step").value = view.step;
  showComparison();
  showFigures(visibleRows(), comparison()?.rows);
  showLegend();
  draw();
  showHeat();
}

function showLegend() {
  find("legend").className = view.chart;
  find("legend").replaceChildren(...seriesOfMode().map(legendItem));
}

function legendItem({ name, label, order }) {
  const toggle = element("button", { type: "button", class: `toggle s${order}` }, element("i"), label, element("b"));
  const only = element("button", { type: "button", class: "only", "aria-label": `Only ${label}` }, "only");
  toggle.onclick = () => setHidden(view.hidden.has(name) ? [...view.hidden].filter((other) => other !== name) : [...view.hidden, name]);
  only.onclick = () => setHidden(isOnlyVisible(name) ? [] : namesOfMode().filter((other) => other !== name));
  return element("div", {}, toggle, only);
}

function setHidden(names) {
  view.hidden = new Set(names);
  draw();
  document.dispatchEvent(new Event("viewchange"));
}

const namesOfMode = () => seriesOfMode().map(({ name }) => name);
const isOnlyVisible = (name) => namesOfMode().every((other) => view.hidden.has(other) === (other !== name));

function draw(room = find("chart").clientWidth) {
  if (!report?.rows.length || find("report").hidden) return;
  const width = Math.max(80 + MARGIN.left + MARGIN.right, room);
  const inner = width - MARGIN.left - MARGIN.right;
  const visible = visibleSeries();
  const panels = view.chart === "panels";
  const groups = panels ? visible.map((series) => [series]) : [visible];
  const high = panels ? 64 : Math.min(300, Math.max(200, width * 0.3));
  const step = high + MARGIN.top;
  chart = view.step === "auto" ? automaticLayout(visibleRows(), inner) : layOutBars(visibleRows(), Number(view.step), inner);
  Object.assign(chart, { visible, selected: null, size: { width: inner, height: Math.max(1, groups.length) * step - MARGIN.top } });
  chart.before = barsBefore();
  const marks = ["band", "brush"].map((name) => svg("rect", { class: name, height: chart.size.height }));
  const drawn = [...marks, ...groups.map((series, index) => panel(series, index * step, high)), ...breakMarks(), ...timeAxis()];
  const height = chart.size.height + MARGIN.top + MARGIN.bottom;
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, svg("g", { transform: `translate(${MARGIN.left} ${MARGIN.top})` }, ...drawn));
  find("chart").style.minHeight = `${height}px`;
  find("chart").replaceChildren(picture);
  find("chart").setAttribute("aria-valuemax", chart.bars.length);
  find("axis-note").textContent = axisNote();
  find("zone").textContent = `Time in ${zoneText()}`;
  find("zoom-all").disabled = find("zoom-out").disabled = !view.zoom;
  find("zoom-in").disabled = visibleRows().length <= 2;
  select(null);
}

function panel(series, top, height) {
  const scale = scaleFor(series, height);
  const draws = [valueAxis, ...(view.chart === "stack" ? [stackPaths] : [linePaths, dots])];
  return svg("g", { transform: `translate(0 ${top})` }, ...draws.flatMap((each) => each(series, scale)));
}

const middle = (place) => ((place + 0.5) * chart.slot).toFixed(1);

// Hours missing from the report had no events: lines of counts fall to 0, lines of rates are interrupted.
function linePath(bars, valueOf, y) {
  let path = "";
  let before = null;
  for (const bar of bars) {
    const value = valueOf(bar.counts);
    const gap = before === null ? 0 : bar.place - before;
    if (value !== null) {
      if (before === null || (gap > 1 && isRates())) path += `M${middle(bar.place)} ${y(value)}h0`;
      else path += `${gap > 1 ? `L${middle(before + 1)} ${y(0)}H${middle(bar.place - 1)}` : ""}L${middle(bar.place)} ${y(value)}`;
    }
    before = value === null ? null : bar.place;
  }
  return path;
}

// Draws the comparison first, so that it is in the background.
function linePaths(series, { y }) {
  const kinds = [["line before", chart.before], ["line", chart.bars]].filter(([, bars]) => bars.length);
  return kinds.flatMap(([kind, bars]) => series.map(({ order, value }) => svg("path", { class: `${kind} s${order}`, d: linePath(bars, value, y) })));
}

function dots(series, { y }) {
  if (chart.bars.length > MAX_DOTS) return [];
  const points = series.flatMap(({ order, value }) => chart.bars.map((bar) => [order, bar.place, value(bar.counts)]));
  return points.filter(([, , value]) => value !== null).map(([order, place, value]) => svg("circle", { class: `dot s${order}`, cx: middle(place), cy: y(value), r: 3 }));
}

// Each series reaches down to the base line and higher ones are drawn first, which avoids seams between thin bars.
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
  const before = chart.before.length ? linePath(chart.before, (counts) => sum(series.map(({ value }) => value(counts))), y) : "";
  return [...paths.reverse(), svg("path", { class: "line before total", d: before })];
}

function breakMarks() {
  const { gaps, slot, size } = chart;
  return gaps.length > 40 ? [] : gaps.map((place) => svg("line", { class: "break", x1: place * slot, x2: place * slot, y2: size.height }));
}

function axisNote() {
  const { unit, cut, bars } = chart;
  const sparse = isRates() && bars.some(({ counts }) => counts[1] < MIN_BASE) ? ` Rates based on fewer than ${MIN_BASE} starts are unreliable.` : "";
  const shared = unit === 1 ? "" : `Each ${view.chart === "stack" ? "bar" : "point"} is ${unit === DAY || unit === WEEK ? "a " : ""}${unitName(unit)}.`;
  return (cut ? `Not to scale: long gaps without events are shortened. ${shared}` : shared) + sparse;
}
