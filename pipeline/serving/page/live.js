// Shows a stream's output folder (--reports) and refreshes it, read only.

const POLL_INTERVAL = 2000; // milliseconds
let live = null; // text of the live reports; null while another report is shown

async function poll() {
  if (live !== null && !running && !document.hidden) await refresh();
  setTimeout(poll, POLL_INTERVAL);
}

async function refresh() {
  const response = await fetch("./reports.csv", { headers: token ? { Authorization: `Bearer ${token}` } : {} }).catch(() => null);
  const text = await response?.text();
  if (live === null) return; // another report was made during the request
  if (response?.status !== 200) return showLiveProblem(response, text);
  find("problem").hidden = true;
  find("live-note").textContent = `Live: updated ${FORMATS.time.format(Date.now() - new Date().getTimezoneOffset() * 60000)}`;
  if (text !== live) showLive((live = text));
}

function showLiveProblem(response, text) {
  live = ""; // show the same text again after the problem
  if (find("problem").hidden) showProblem(responseError(response?.status ?? "network", text, response?.headers.get("Retry-After")), { again: refresh });
}

// Keeps the zoom, the order of the table and the selected hour.
function showLive(text) {
  const rows = text.trimEnd().split("\n").slice(1).map((line) => line.split(/,(?=\w+$)/));
  const finals = new Set(rows.filter(([, final]) => final === "true").map(([row]) => row.slice(0, 25)));
  const [zoom, chosen] = [report ? zoomedHours() : fragmentParameters().get("zoom")?.split("/"), chart?.bars[chart.selected]?.rows[0].hour];
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
  document.querySelector("main").append(find("form")); // reports above the form
  find("live").hidden = false;
  find("live").onclick = goLive;
  if (!report) goLive();
  setTimeout(poll, POLL_INTERVAL);
}
