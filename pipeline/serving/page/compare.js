// Compares the visible range with the previous period or with a second report.

let secondReport = null; // { name, text, rows } of a second report

// The rows to compare with and the number of hours by which they are shifted, or null.
function comparison() {
  if (!report.rows.length) return null;
  const found = view.compare === "previous" ? periodBefore() : view.compare === "file" && secondReport ? otherPeriod() : null;
  return found?.rows.length ? found : null;
}

// The previous period is as long as the visible range, rounded up to whole days so that nights are never compared with
// days. null if more than a tenth of it is before the report.
function periodBefore() {
  const shown = visibleRows();
  const [first, last] = [shown[0].local, shown.at(-1).local];
  const length = last - first + 1;
  const later = length < DAY ? length : Math.ceil(length / DAY) * DAY;
  if (report.rows[0].local > first - later + length / 10) return null;
  return { later, rows: report.rows.filter(({ local }) => first <= local + later && local + later <= last) };
}

// Overlapping reports are compared hour by hour; otherwise their first days or weeks are aligned.
function otherPeriod() {
  const [mine, theirs] = [report.rows, secondReport.rows];
  const apart = mine[0].local - theirs[0].local;
  const unit = theirs.at(-1).local - theirs[0].local < WEEK ? DAY : WEEK;
  const overlap = mine[0].local <= theirs.at(-1).local && theirs[0].local <= mine.at(-1).local;
  const later = overlap ? 0 : Math.round(apart / unit) * unit;
  if (!view.zoom) return { later, rows: theirs };
  const shown = visibleRows();
  return { later, rows: theirs.filter(({ local }) => shown[0].local <= local + later && local + later <= shown.at(-1).local) };
}

// The compared rows as bars in the slots of the chart.
function barsBefore() {
  const found = comparison();
  if (!found || chart.cut) return [];
  const bars = new Map();
  for (const row of found.rows) {
    const place = slotOf(row.local + found.later);
    const bar = bars.get(place) ?? { place, counts: EVENTS.map(() => 0) };
    row.counts.forEach((count, order) => (bar.counts[order] += count));
    if (place >= 0 && place < chart.slots) bars.set(place, bar);
  }
  return [...bars.values()].sort((one, another) => one.place - another.place);
}

function showComparison() {
  find("compare").value = view.compare;
  find("compare").querySelector("[value=file]").textContent = secondReport ? secondReport.name : "a file …";
  const found = comparison();
  const missing = view.compare === "previous" ? "The report does not contain the whole previous period. Zoom in to compare a shorter one." : "The file has no hours in this period.";
  find("compared").textContent = found ? `Faint lines: ${FORMATS.hour.formatRange(found.rows[0].local * HOUR, found.rows.at(-1).local * HOUR)}${view.compare === "file" ? ` of ${secondReport.name}` : ""}.` : view.compare ? missing : "";
}

function compareWith(name, text) {
  secondReport = { name, text, rows: parseReport(text).rows };
  changeView({ compare: "file" });
}

find("compare").onchange = ({ target }) => {
  if (target.value === "file") return (target.value = view.compare), find("compare-file").click();
  secondReport = null;
  changeView({ compare: target.value });
};
