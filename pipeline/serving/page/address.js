// The address: options and view stand in its fragment. The report itself is kept in the browser's history entry, so that
// reloading, Back and Forward show it again.

const addressed = () => new URLSearchParams(location.hash.slice(1));

function fragment() {
  const parts = parameters();
  const zoom = report ? zoomedHours()?.join("/") : addressed().get("zoom");
  const seen = { chart: view.chart, step: view.step === "auto" ? "" : view.step, hide: [...view.hidden].join(), compare: view.compare, zoom };
  for (const [name, value] of Object.entries(seen)) if (value) parts.set(name, value);
  return parts.size ? `#${parts.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%2C", ",")}` : "";
}

function remember(isNew = false) {
  const { text, name, summary, made } = report ?? {};
  const kept = text && !report.finals ? { text, name, summary, made, other: other && { name: other.name, text: other.text } } : null;
  const write = (state) => history[isNew ? "pushState" : "replaceState"](state, "", `${location.pathname}${location.search}${fragment()}`);
  try {
    write(kept);
  } catch {
    write(null); // larger than the browser keeps
  }
}

// Sets options and view by the address, and shows the report of the history entry, if it has one.
function restore() {
  const parts = addressed();
  setOptions(parts);
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
  other = second && { ...second, rows: parseReport(second.text).rows };
  find("problem").hidden = true;
  showReport(text, name, summary);
  report.made = made;
}
