// Shows a report: the last of the scripts that a report with its chart in one file needs.

const COUNTERS = { read: "Events read", counted: "Counted", rejected: "Rejected", duplicate: "Duplicates", hours: "Hours" };
let report = null; // what parseReport makes, with the report's name, text and summary

// Throws an Error where the text is no report.
function showReport(text, name, summary = {}, finals = null) {
  if (!finals || !report?.finals) order = { column: 0, down: Boolean(finals) }; // live, the newest hours are first
  report = { ...parseReport(text), text, name, summary, finals };
  Object.assign(view, { zoom: null, compare: view.compare === "file" && !other ? "" : view.compare });
  URL.revokeObjectURL(find("download").href);
  find("download").href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  find("download").download = `${stem(name)}.csv`;
  find("report-title").textContent = `Report of ${name}`;
  document.title = `${name} – Hourly report`;
  const counters = Object.entries(COUNTERS).filter(([key]) => key in summary);
  find("counters").replaceChildren(...counters.map(([key, label]) => element("div", {}, element("dt", {}, label), element("dd", { "data-key": key }, grouped(String(summary[key]))))));
  find("report").hidden = false;
  find("chart-card").hidden = find("heat-card").hidden = !report.rows.length;
  find("copied").textContent = find("zoomed").textContent = "";
  showView();
  showTable();
}

// A name without what says how its events are stored.
const stem = (name) => name.replace(/^the /, "").replace(/ /g, "-").replace(/(\.(gz|gzip|zst|zstd|bz2|jsonl?|ndjson|parquet|csv))+$/i, "") || "report";
