// The table of hours: sorted by any column, a thousand rows at a time, and copied for a spreadsheet.

const ROWS_AT_A_TIME = 1000;
const FIRST_ROWS = 100; // shown at once; the browser takes a third of a second to lay a thousand out
const COLUMNS = [...HEADER.split(","), ...RATES.map(({ label }) => label)];
const NUMBERS = EVENTS.length + 1; // columns of numbers behind the hour; then come rates
let order = { column: 0, down: false };

// As text, exact; hour in full where full.
const rowCells = ({ hour, counts, scaled }, full = false) => [full ? hour : shortHour(hour), ...counts.map(String), scaled, ...RATES.map((rate) => rateText(rateOf(counts, rate)))];
const totalCells = () => ["Total", ...rowCells({ hour: "", counts: totals(report.rows), scaled: decimalSum(report.rows.map(({ scaled }) => scaled)) }).slice(1)];

// With its offset where the report has several.
const shortHour = (hour) => hour.slice(0, 16).replace("T", " ") + (report.zones.length > 1 ? ` ${hour.slice(19)}` : "");
const rowHour = ({ hour }) => shortHour(hour);

function sortedRows() {
  const { column, down } = order;
  const key = (row) => {
    if (column === 0) return row.time;
    if (column <= NUMBERS) return column < NUMBERS ? row.counts[column - 1] : Number(row.scaled);
    return rateOf(row.counts, RATES[column - NUMBERS - 1]) ?? (down ? -Infinity : Infinity); // those without one are last
  };
  const keyed = report.rows.map((row) => [key(row), row]);
  return keyed.sort(([a], [b]) => (down ? b - a : a - b) || 0).map(([, row]) => row); // of two infinities: not a number
}

function showTable() {
  find("columns").replaceChildren(...COLUMNS.map(columnHead));
  find("rows").replaceChildren();
  find("totals").replaceChildren(...tableCells(totalCells(), totals(report.rows)));
  showRows(FIRST_ROWS);
  setTimeout(() => find("rows").rows.length === FIRST_ROWS && showRows(ROWS_AT_A_TIME - FIRST_ROWS));
}

function columnHead(name, column) {
  const parts = name.split(/(?<=_)/).flatMap((part, index) => (index ? [element("wbr"), part] : [part])); // long names may break
  const button = element("button", { type: "button" }, ...parts);
  const head = element("th", { scope: "col" }, button);
  if (column === order.column) head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
  button.onclick = () => {
    order = { column, down: column === order.column ? !order.down : column > 0 }; // of numbers, the largest first
    showTable();
    find("columns").children[column].firstChild.focus();
  };
  return head;
}

function showRows(count = ROWS_AT_A_TIME) {
  const from = find("rows").rows.length;
  find("rows").append(...sortedRows().slice(from, from + count).map(tableRow));
  const [shown, all] = [find("rows").rows.length, report.rows.length];
  find("more").hidden = shown === all;
  find("rows-note").textContent =
    shown < all ? `${integer.format(shown)} of ${integer.format(all)} hours. The CSV has them all.` : `Hours in ${zoneText()}. Those without events are left out. Grey rates are of fewer than ${FEW}.`;
  showCue();
}

function tableRow(row) {
  const cells = tableCells(rowCells(row), row.counts);
  if (report.finals?.has(row.hour)) cells[0].append(" ", element("small", { class: "final" }, "final"));
  return element("tr", {}, ...cells);
}

function tableCells([hour, ...values], counts) {
  const cells = values.map((value, index) => {
    const rate = RATES[index - NUMBERS];
    const quiet = rate ? isFew(counts, rate) : /^[0.]+$/.test(value);
    return element("td", { ...(quiet && { class: rate ? "few" : "zero" }), ...(rate && caution(counts, rate) && { title: caution(counts, rate) }) }, grouped(value));
  });
  return [element("th", { scope: "row" }, hour), ...cells];
}

// Whether columns lie beyond the right edge.
function showCue() {
  const box = find("table-box");
  const hidden = box.scrollWidth - box.clientWidth > 1;
  find("cue").hidden = !hidden;
  box.parentNode.classList.toggle("more", hidden && box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
}

// All rows in their order, for a spreadsheet.
async function copyTable() {
  const rows = [COLUMNS, ...sortedRows().map((row) => rowCells(row, true)), totalCells()];
  try {
    await navigator.clipboard.writeText(rows.map((cells) => cells.join("\t")).join("\n"));
    find("copied").textContent = `Copied ${integer.format(report.rows.length)} hours.`;
  } catch {
    find("copied").textContent = "The browser does not let this page copy: download the CSV."; // it is not at a secure address, say
  }
}

find("more").onclick = () => showRows();
find("copy").onclick = copyTable;
find("table-box").onscroll = showCue;
new ResizeObserver(showCue).observe(find("table-box"));
