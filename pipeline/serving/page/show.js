// Shows a report: the last of the scripts that a report with its chart in one file needs.
"use strict";

let report = null; // what parseReport makes, with the report's name, text and summary

// Throws an Error where the text is no report.
function showReport(text, name, summary = {}, finals = null) {
  report = { ...parseReport(text), text, name, summary, finals };
  Object.assign(view, { zoom: null, compare: view.compare === "file" && !other ? "" : view.compare });
  order = finals ? { column: 0, down: true } : { column: 0, down: false };
  URL.revokeObjectURL(find("download").href);
  find("download").href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  find("download").download = `${stem(name)}.csv`;
  find("report-title").textContent = `Report of ${name}`;
  document.title = `${name} – Hourly report`;
  for (const node of document.querySelectorAll("[data-key]")) {
    node.textContent = grouped(String(summary[node.dataset.key] ?? "–"));
    node.parentNode.hidden = !(node.dataset.key in summary);
  }
  find("counters").hidden = !("read" in summary);
  find("report").hidden = false;
  find("chart-card").hidden = find("heat-card").hidden = !report.rows.length;
  find("copied").textContent = find("zoomed").textContent = "";
  showView();
  showTable();
}

// A name without what says how its events are stored.
const stem = (name) => name.replace(/^the /, "").replace(/ /g, "-").replace(/(\.(gz|gzip|zst|zstd|bz2|jsonl?|ndjson|parquet|csv))+$/i, "") || "report";
