// Shows a report; the last script that --chart_output needs.

const COUNTERS = { read: "Records read", counted: "Counted", rejected: "Rejected", duplicate: "Duplicates", hours: "Hours" };
let report = null; // the parsed report with its name, text and summary

// Throws an Error if the text is not a report.
function showReport(text, name, summary = {}, finals = null) {
  if (!finals || !report?.finals) sortOrder = { column: 0, down: Boolean(finals) }; // live reports start with the newest hours
  report = { ...parseReport(text), text, name, summary, finals };
  Object.assign(view, { zoom: null, compare: view.compare === "file" && !secondReport ? "" : view.compare });
  URL.revokeObjectURL(find("download").href);
  find("download").href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  find("download").download = `${stem(name)}.csv`;
  find("report-title").textContent = `Report for ${name}`;
  document.title = `${name} – Hourly report`;
  const counters = Object.entries(COUNTERS).filter(([key]) => key in summary);
  find("counters").replaceChildren(...counters.map(([key, label]) => element("div", {}, element("dt", {}, label), element("dd", { "data-key": key }, grouped(String(summary[key]))))));
  find("report").hidden = false;
  find("chart-card").hidden = find("heat-card").hidden = !report.rows.length;
  find("copied").textContent = find("zoomed").textContent = "";
  showView();
  showTable();
}

// A file name without its format and compression suffixes.
const stem = (name) => name.replace(/^the /, "").replace(/ /g, "-").replace(/(\.(gz|gzip|zst|zstd|bz2|jsonl?|ndjson|parquet|csv))+$/i, "") || "report";
