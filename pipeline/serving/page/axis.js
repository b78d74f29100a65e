// Axes of the chart: value scale, value ticks and time ticks.

const MARGIN = { top: 28, right: 12, bottom: 44, left: 48 };
const TICK_WIDTH = 58; // width of a tick label in pixels

// y converts a value to pixels. The highest value is just below the top of the panel.
function scaleFor(series, height) {
  const all = [...chart.bars, ...chart.before];
  const highest = (counts) => {
    const values = series.map((each) => each.value(counts) ?? 0);
    return view.chart === "stack" ? sum(values) : Math.max(0, ...values);
  };
  const high = all.reduce((most, { counts }) => Math.max(most, highest(counts)), 0) || 1;
  const step = roundStep(high / (view.chart === "panels" ? 2 : 5), isRates() ? 0.01 : 1);
  const top = Math.max(high * 1.03, step);
  return { step, top, height, y: (value) => (height * (1 - value / top)).toFixed(1) };
}

// The first of 1, 2, 2.5, 5, 10, 20, 25 ... that is at least `least` and a multiple of `smallest`.
function roundStep(least, smallest = 1) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, smallest)) + 1e-9);
  return [1, 2, 2.5, 5, 10].map((digit) => digit * power).find((step) => step >= least - 1e-9 && Number.isInteger(+(step / smallest).toFixed(9)));
}

function valueAxis(series, { step, top, y }) {
  const panels = view.chart === "panels";
  const title = panels ? series[0].label : isRates() ? "Share of starts (view rate: of impressions)" : `Events per ${chart.cut && chart.unit > 1 ? "point" : unitName(chart.unit)}`;
  const marks = [svg("text", { x: -MARGIN.left, y: -10, class: panels ? "title" : "" }, title)];
  for (let index = 0; index * step <= top; index++) {
    const line = Math.round(y(index * step));
    marks.push(svg("line", { class: index ? "grid" : "base", x2: chart.size.width, y1: line, y2: line }));
    marks.push(svg("text", { x: -8, y: line + 4, "text-anchor": "end" }, isRates() ? percent.format(index * step) : compact.format(index * step)));
  }
  return marks;
}

function timeAxis() {
  const { width, height } = chart.size;
  const { ticks, step } = timeTicks();
  let before = [];
  const marks = ticks.flatMap(({ x, local }) => {
    const [day, year] = [FORMATS.short.format(local * HOUR), FORMATS.year.format(local * HOUR)];
    const labels = step < DAY ? [FORMATS.time.format(local * HOUR), day] : [day, year];
    const texts = labels.map((text, line) => svg("text", { x, y: height + 20 + 16 * line, "text-anchor": "middle" }, text));
    const fresh = texts.filter((_, line) => labels.slice(line).some((text, index) => text !== before[line + index]));
    before = labels;
    return [svg("line", { class: "base", x1: x, x2: x, y1: height, y2: height + 5 }), ...fresh];
  });
  return [svg("line", { class: "base", x2: width, y1: height, y2: height }), ...marks];
}

// Ticks at round hours, days, weeks or months; on a shortened axis, at bars with room for a label.
function timeTicks() {
  const { bars, slot, slots, unit, size, cut, first } = chart;
  if (cut) {
    let last = -Infinity;
    const centres = bars.map((bar) => ({ x: (bar.place + 0.5) * slot, local: bar.rows[0].local }));
    return { step: DAY, ticks: centres.filter(({ x }) => x - last >= TICK_WIDTH && (last = x, true)) };
  }
  const hours = (slots * unit * TICK_WIDTH) / size.width;
  const step = [1, 2, 3, 6, 12, DAY, 48, 96, WEEK, 2 * WEEK].find((each) => each >= hours && each >= unit);
  const [start, end] = [first * unit - originOf(unit), (first + slots) * unit - originOf(unit)];
  const locals = step ? roundHours(start, end + 1, step) : roundMonths(start, end, Math.ceil(hours / 720));
  const ticks = locals.map((local) => ({ local, x: (slotOf(local) + 0.5) * slot }));
  return { step: step ?? 720, ticks: ticks.filter(({ x }, index) => x >= 0 && x <= size.width && x !== ticks[index - 1]?.x) };
}

// The slot of a local time.
const slotOf = (local) => bucketOf({ local, time: local - shiftAt(local) }, chart.unit) - chart.first;

// The UTC offset at a local time relative to that of the first row, in hours.
function shiftAt(local) {
  const { rows } = chart.bars.findLast((bar) => bar.rows[0].local <= local) ?? chart.bars[0];
  const row = rows.findLast((each) => each.local <= local) ?? rows[0];
  return row.local - row.time;
}

function roundHours(start, end, step) {
  const origin = originOf(step);
  const first = Math.ceil((start + origin) / step);
  return Array.from({ length: Math.max(0, Math.ceil((end + origin) / step) - first) }, (_, index) => (first + index) * step - origin);
}

function roundMonths(start, end, months) {
  const step = [1, 2, 3, 6, 12].find((each) => each >= months) ?? roundStep(months / 12) * 12;
  const first = new Date(start * HOUR).getUTCFullYear() * 12;
  const count = Math.ceil((end - start) / (step * 28 * DAY)) + 12;
  const times = Array.from({ length: count }, (_, index) => new Date(0).setUTCFullYear(0, Math.ceil(first / step + index) * step, 1) / HOUR);
  return times.filter((time) => time >= start && time < end);
}
