// Heat map of events by weekday and hour of day, as a table with shaded cells.

const WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const HOURS = Array.from({ length: DAY }, (_, hour) => String(hour).padStart(2, "0"));

// Mean number of events for each hour of the week. Hours without events between the first and last row count as 0.
function heatValues(rows, order) {
  const [first, last] = [rows[0].local + MONDAY, rows.at(-1).local + MONDAY];
  const sums = Array(WEEK).fill(0);
  for (const row of rows) sums[(row.local + MONDAY) % WEEK] += row.counts[order];
  const times = (slot) => Math.floor((last - slot) / WEEK) - Math.floor((first - 1 - slot) / WEEK);
  return sums.map((total, slot) => (times(slot) ? total / times(slot) : null));
}

function showHeat() {
  const rows = visibleRows();
  if (!rows.length) return;
  const order = Number(find("heat-of").value);
  const values = heatValues(rows, order);
  const most = Math.max(...values) || 1;
  const days = WEEKDAYS.map((_, day) => day).filter((day) => values.slice(day * DAY, day * DAY + DAY).some((value) => value !== null));
  const name = (day) => element("th", { scope: "row", abbr: WEEKDAYS[day] }, WEEKDAYS[day].slice(0, 3));
  const row = (day) => element("tr", {}, name(day), ...HOURS.map((_, hour) => heatCell(values[day * DAY + hour], most)));
  find("heat-head").replaceChildren(element("td"), ...HOURS.map((hour) => element("th", { scope: "col" }, hour)));
  find("heat-body").replaceChildren(...days.map(row));
  find("heat-caption").textContent = `Mean ${EVENTS[order]} per hour, by weekday and hour of day`;
  const slot = values.indexOf(most);
  find("heat-note").textContent = slot < 0 ? "" : `Busiest: ${WEEKDAYS[Math.floor(slot / DAY)]}, ${HOURS[slot % DAY]}:00, with ${compact.format(most)} per hour on average. Time in ${zoneText()}.`;
}

function heatCell(value, most) {
  const cell = element("td", {}, value === null ? "–" : compact.format(value < 10 ? Number(value.toFixed(1)) : Math.round(value)));
  cell.style.setProperty("--share", `${Math.round((100 * (value ?? 0)) / most)}%`);
  return cell;
}

find("heat-of").append(...EVENTS.map((name, order) => element("option", { value: order }, name)));
find("heat-of").value = 1; // video_start
find("heat-of").onchange = showHeat;
