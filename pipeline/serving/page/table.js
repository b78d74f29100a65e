// The table of hours: sortable, loaded 1,000 rows at a time, copied for spreadsheets.

const ROWS_PER_LOAD = 1000;
const FIRST_ROWS = 100; // shown first, because the layout of 1,000 rows takes a third of a second
const COLUMNS = [...HEADER.split(","), ...RATES.map(({ label }) => label)];
const NUMERIC_COLUMNS = EVENTS.length + 1; // numeric columns between the hour and the rates
let sortOrder = { column: 0, down: false };

// Exact text of each cell. full: hours with their UTC offset, as in the CSV.
const rowCells = ({ hour, counts, scaled }, full = false) => [full ? hour : shortHour(hour), ...counts.map(String), scaled, ...RATES.map((rate) => rateText(rateOf(counts, rate)))];
const totalCells = () => ["Total", ...rowCells({ hour: "", counts: totals(report.rows), scaled: decimalSum(report.rows.map(({ scaled }) => scaled)) }).slice(1)];

// Includes the UTC offset if the report has several.
const shortHour = (hour) => hour.slice(0, 16).replace("T", " ") + (report.zones.length > 1 ? ` ${hour.slice(19)}` : "");
const rowHour = ({ hour }) => shortHour(hour);

function sortedRows() {
  const { column, down } = sortOrder;
  const key = (row) => {
    if (column === 0) return row.time;
    if (column <= NUMERIC_COLUMNS) return column < NUMERIC_COLUMNS ? row.counts[column - 1] : Number(row.scaled);
    return rateOf(row.counts, RATES[column - NUMERIC_COLUMNS - 1]) ?? (down ? -Infinity : Infinity); // rows without a rate are last
  };
  const keyed = report.rows.map((row) => [key(row), row]);
  return keyed.sort(([a], [b]) => (down ? b - a : a - b) || 0).map(([, row]) => row); // Infinity - Infinity is NaN
}

function showTable() {
  find("columns").replaceChildren(...COLUMNS.map(columnHead));
  find("rows").replaceChildren();
  find("totals").replaceChildren(...tableCells(totalCells(), totals(report.rows)));
  showRows(FIRST_ROWS);
  setTimeout(() => find("rows").rows.length === FIRST_ROWS && showRows(ROWS_PER_LOAD - FIRST_ROWS));
}

function columnHead(name, column) {
  const parts = name.split(/(?<=_)/).flatMap((part, index) => (index ? [element("wbr"), part] : [part])); // long names may wrap
  const button = element("button", { type: "button" }, ...parts);
  const head = element("th", { scope: "col" }, button);
  if (column === sortOrder.column) head.setAttribute("aria-sort", sortOrder.down ? "descending" : "ascending");
  button.onclick = () => {
    sortOrder = { column, down: column === sortOrder.column ? !sortOrder.down : column > 0 }; // numbers: largest first
    showTable();
    find("columns").children[column].firstChild.focus();
  };
  return head;
}

function showRows(count = ROWS_PER_LOAD) {
  const from = find("rows").rows.length;
  find("rows").append(...sortedRows().slice(from, from + count).map(tableRow));
  const [shown, all] = [find("rows").rows.length, report.rows.length];
  find("more").hidden = shown === all;
  find("rows-note").textContent =
    shown < all ? `${integer.format(shown)} of ${integer.format(all)} hours. The CSV contains all of them.` : `Hours in ${zoneText()}; hours without events are omitted. Grey rates are based on fewer than ${MIN_BASE} events.`;
  showCue();
}

function tableRow(row) {
  const cells = tableCells(rowCells(row), row.counts);
  if (report.finals?.has(row.hour)) cells[0].append(" ", element("small", { class: "final" }, "final"));
  return element("tr", {}, ...cells);
}

function tableCells([hour, ...values], counts) {
  const cells = values.map((value, index) => {
    const rate = RATES[index - NUMERIC_COLUMNS];
    const quiet = rate ? isFew(counts, rate) : /^[0.]+$/.test(value);
    return element("td", { ...(quiet && { class: rate ? "few" : "zero" }), ...(rate && caution(counts, rate) && { title: caution(counts, rate) }) }, grouped(value));
  });
  return [element("th", { scope: "row" }, hour), ...cells];
}

// Shows a hint while columns are hidden beyond the right edge.
function showCue() {
  const box = find("table-box");
  const hidden = box.scrollWidth - box.clientWidth > 1;
  find("cue").hidden = !hidden;
  box.parentNode.classList.toggle("more", hidden && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
}

// Copies all rows in their order as tab-separated text.
async function copyTable() {
  const rows = [COLUMNS, ...sortedRows().map((row) => rowCells(row, true)), totalCells()];
  try {
    await navigator.clipboard.writeText(rows.map((cells) => cells.join("\t")).join("\n"));
    find("copied").textContent = `Copied ${integer.format(report.rows.length)} hours.`;
  } catch {
    find("copied").textContent = "The browser does not allow this page to copy. Download the CSV instead."; // for example without HTTPS
  }
}

find("more").onclick = () => showRows();
find("copy").onclick = copyTable;
find("table-box").onscroll = showCue;
new ResizeObserver(showCue).observe(find("table-box"));
