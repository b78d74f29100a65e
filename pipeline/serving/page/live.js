// Shows the hours of a stream's output folder as they change, where the server has one (--reports). Nothing is written there.

const EVERY = 2000; // milliseconds between looks
let live = null; // the rows that are shown; null while another report is

async function look() {
  if (live !== null && !running && !document.hidden) await refresh();
  setTimeout(look, EVERY);
}

async function refresh() {
  const response = await fetch("./reports.csv", { headers: token ? { Authorization: `Bearer ${token}` } : {} }).catch(() => null);
  const text = await response?.text();
  if (live === null) return; // another report has been made meanwhile
  if (response?.status !== 200) return showLiveProblem(response, text);
  find("problem").hidden = true;
  find("live-note").textContent = `Live: looked at ${FORMATS.time.format(Date.now() - new Date().getTimezoneOffset() * 60000)}`;
  if (text !== live) showLive((live = text));
}

function showLiveProblem(response, text) {
  live = ""; // shown again once it can be read
  if (find("problem").hidden) showProblem(explain(response?.status ?? "network", text, response?.headers.get("Retry-After")), { again: refresh });
}

// Keeps the zoom, the order of the table and the hour whose values are shown.
function showLive(text) {
  const rows = text.trimEnd().split("\n").slice(1).map((line) => line.split(/,(?=\w+$)/));
  const finals = new Set(rows.filter(([, final]) => final === "true").map(([row]) => row.slice(0, 25)));
  const [zoom, chosen] = [report ? zoomedHours() : addressed().get("zoom")?.split("/"), chart?.bars[chart.selected]?.rows[0].hour];
  showReport([HEADER, ...rows.map(([row]) => row).reverse(), ""].join("\n"), "the live folder", {}, finals);
  restoreZoom(zoom);
  selectRow(report.rows.findIndex(({ hour }) => hour === chosen));
}

function goLive() {
  live = "";
  report = null;
  refresh();
}

function startLive() {
  document.querySelector("main").append(find("form")); // the reports come first
  find("live").hidden = false;
  find("live").onclick = goLive;
  if (!report) goLive();
  setTimeout(look, EVERY);
}
