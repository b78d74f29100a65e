// Groups hours into bars of a time step, and titles of bars and ranges. Days and weeks follow the report's time zone.

const [DAY, WEEK] = [24, 168];
const MONDAY = 72; // hours from a Monday to 1970-01-01, a Thursday
const MIN_SPACING = 1.5; // pixels between points, at least, for the automatic time step
const dateFormat = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const FORMATS = {
  hour: dateFormat({ dateStyle: "medium", timeStyle: "short" }),
  date: dateFormat({ dateStyle: "medium" }),
  day: dateFormat({ weekday: "short", day: "numeric", month: "short", year: "numeric" }),
  time: dateFormat({ timeStyle: "short" }),
  short: dateFormat({ day: "numeric", month: "short" }),
  year: dateFormat({ year: "numeric" }),
};

const originOf = (unit) => (unit % WEEK ? 0 : MONDAY);

// Hours are elapsed time, so that days with a repeated or skipped hour have 25 or 23; longer steps follow the calendar.
const bucketOf = (row, unit) => Math.floor(unit === 1 ? row.time : (row.local + originOf(unit)) / unit);

// Groups rows into bars of `unit` hours. Shortens long gaps if nearly all of the range is empty (1970 and 9999 in one report).
function layOutBars(rows, unit, width) {
  const bars = [];
  for (const row of rows) {
    const number = bucketOf(row, unit);
    if (bars.at(-1)?.number !== number) bars.push({ number, rows: [], counts: EVENTS.map(() => 0) });
    bars.at(-1).rows.push(row);
    row.counts.forEach((count, order) => (bars.at(-1).counts[order] += count));
  }
  const span = bars.at(-1).number - bars[0].number + 1;
  const steps = bars.slice(1).map(({ number }, index) => number - bars[index].number);
  const isCut = span * MIN_SPACING > width && bars.length * 20 < span;
  const longest = isCut ? Math.max(3, Math.ceil(bars.length / 30 / steps.filter((step) => step > 3).length)) : Infinity;
  const gaps = [];
  bars[0].place = 0;
  steps.forEach((step, index) => {
    bars[index + 1].place = bars[index].place + Math.min(step, longest);
    if (step > longest) gaps.push(bars[index].place + (longest + 1) / 2);
  });
  const slots = bars.at(-1).place + 1;
  return { bars, unit, gaps, slots, slot: width / slots, cut: isCut, first: bars[0].number };
}

// The finest time step that fits and does not mix day and night: hours below three weeks, then days, then weeks.
function automaticLayout(rows, width) {
  const hours = rows.at(-1).time - rows[0].time + 1;
  const units = hours < 3 * WEEK ? [1, 3, 6] : [DAY, WEEK, 4 * WEEK, 16 * WEEK, 64 * WEEK];
  for (const unit of units) {
    const found = layOutBars(rows, unit, width);
    if (found.slots * MIN_SPACING <= width || unit === units.at(-1)) return found;
  }
}

function unitName(unit) {
  if (unit < DAY) return unit === 1 ? "hour" : `${unit} hours`;
  if (unit === DAY) return "day";
  return unit === WEEK ? "week" : `${unit / WEEK} weeks`;
}

function barTitle({ number, rows }, unit) {
  const start = number * unit - originOf(unit);
  const at = (hours) => hours * HOUR;
  if (unit === 1) return rangeTitle(rows, unit);
  if (unit < DAY) return `${FORMATS.date.format(at(start))}, ${FORMATS.time.format(at(start))}–${FORMATS.time.format(at(start + unit))}`;
  return unit === DAY ? FORMATS.day.format(at(start)) : FORMATS.date.formatRange(at(start), at(start + unit - 1));
}

function rangeTitle(rows, unit) {
  const [first, last] = [rows[0], rows.at(-1)];
  const range = FORMATS[unit < DAY ? "hour" : "date"].formatRange(first.local * HOUR, last.local * HOUR);
  return report.zones.length > 1 && unit === 1 ? `${range} (UTC${last.hour.slice(19)})` : range;
}

const zoneText = () => report.zones.slice(0, 3).join(" and ") || "UTC";
