// The address: options and view stand in its fragment. The report itself is kept in the browser's history entry, so that
// reloading, Back and Forward show it again.
"use strict";

function fragment() {
  const { zone, factor, skip, deduplicate } = options();
  const parts = new URLSearchParams();
  if (zone !== server.zone) parts.set("zone", zone);
  if (factor !== server.factor) parts.set("factor", factor);
  if (skip !== server.skip) parts.set("rejects", skip ? "skip" : "refuse");
  if (deduplicate !== server.deduplicate) parts.set("deduplicate", deduplicate);
  if (view.chart) parts.set("chart", view.chart);
  if (view.step !== "auto") parts.set("step", view.step);
  if (view.hidden.size) parts.set("hide", [...view.hidden].join());
  if (view.compare) parts.set("compare", view.compare);
  if (view.zoom) parts.set("zoom", zoomedHours().join("/"));
  return parts.size ? `#${parts.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%2C", ",")}` : "";
}

function remember(isNew = false) {
  const kept = report && !report.finals ? { text: report.text, name: report.name, summary: report.summary, made: report.made, other: other?.text && { name: other.name, text: other.text } } : null;
  const address = `${location.pathname}${location.search}${fragment()}`;
  const write = (state) => history[isNew ? "pushState" : "replaceState"](state, "", address);
  try {
    write(kept);
  } catch {
    write(null); // larger than the browser keeps
  }
}

// Sets options and view by the address, and shows the report of the history entry, if it has one.
function restore() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const flag = (name, yes, usual) => (parts.has(name) ? parts.get(name) === yes : usual);
  setOptions({
    zone: parts.get("zone") ?? server.zone,
    factor: parts.get("factor") ?? server.factor,
    skip: flag("rejects", "skip", server.skip),
    deduplicate: flag("deduplicate", "true", server.deduplicate),
  });
  const known = (name, values, usual) => (values.includes(parts.get(name)) ? parts.get(name) : usual);
  view.chart = known("chart", ["lines", "panels", "stack", "rates"], "");
  view.step = known("step", ["1", "24", "168"], "auto");
  view.compare = known("compare", ["previous", "file"], "");
  view.hidden = new Set(EVENTS.filter((name) => parts.get("hide")?.split(",").includes(name)));
  if (history.state?.text) showKept(history.state);
  else if (report) showView();
  restoreZoom(parts.get("zoom")?.split("/"));
  markOptions(report?.made);
  remember();
}

function showKept({ text, name, summary, made, other: second }) {
  other = second ? { ...second, rows: parseReport(second.text).rows } : null;
  find("problem").hidden = true;
  showReport(text, name, summary);
  report.made = made;
}
