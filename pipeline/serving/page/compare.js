// Compares what is shown with the period before it, or with a second report.

let other = null; // { name, text, rows } of a second report

// The rows to compare with, and how many hours later they are drawn; null where there are none.
function comparison() {
  if (!report.rows.length) return null;
  const found = view.compare === "previous" ? periodBefore() : view.compare === "file" && other ? otherPeriod() : null;
  return found?.rows.length ? found : null;
}

// As long as what is shown, whole days where it is a day or more: a night is never compared with a day. None where more
// than a tenth of it came before the report.
function periodBefore() {
  const shown = shownRows();
  const [first, last] = [shown[0].local, shown.at(-1).local];
  const length = last - first + 1;
  const later = length < DAY ? length : Math.ceil(length / DAY) * DAY;
  if (report.rows[0].local > first - later + length / 10) return null;
  return { later, rows: report.rows.filter(({ local }) => first <= local + later && local + later <= last) };
}

// Where the two overlap, hour by hour; else the first days, or the first weeks, of both are laid over each other.
function otherPeriod() {
  const [mine, theirs] = [report.rows, other.rows];
  const apart = mine[0].local - theirs[0].local;
  const unit = theirs.at(-1).local - theirs[0].local < WEEK ? DAY : WEEK;
  const overlap = mine[0].local <= theirs.at(-1).local && theirs[0].local <= mine.at(-1).local;
  const later = overlap ? 0 : Math.round(apart / unit) * unit;
  if (!view.zoom) return { later, rows: theirs };
  const shown = shownRows();
  return { later, rows: theirs.filter(({ local }) => shown[0].local <= local + later && local + later <= shown.at(-1).local) };
}

// Bars of the compared rows in the slots of the chart.
function barsBefore() {
  const found = comparison();
  if (!found || chart.cut) return [];
  const bars = new Map();
  for (const row of found.rows) {
    const place = placeOf(row.local + found.later);
    const bar = bars.get(place) ?? { place, counts: EVENTS.map(() => 0) };
    row.counts.forEach((count, order) => (bar.counts[order] += count));
    if (place >= 0 && place < chart.slots) bars.set(place, bar);
  }
  return [...bars.values()].sort((one, another) => one.place - another.place);
}

function showComparison() {
  find("compare").value = view.compare;
  find("compare").querySelector("[value=file]").textContent = other ? other.name : "a file …";
  const found = comparison();
  const lost = view.compare === "previous" ? "The report does not have the whole period before these hours: zoom in to a shorter one." : "The file has no hours to compare with.";
  find("compared").textContent = found ? `Faint: ${FORMATS.hour.formatRange(found.rows[0].local * HOUR, found.rows.at(-1).local * HOUR)}${view.compare === "file" ? ` of ${other.name}` : ""}.` : view.compare ? lost : "";
}

function compareWith(name, text) {
  other = { name, text, rows: parseReport(text).rows };
  changeView({ compare: "file" });
}

find("compare").onchange = ({ target }) => {
  if (target.value === "file") return (target.value = view.compare), find("other").click();
  other = null;
  changeView({ compare: target.value });
};
