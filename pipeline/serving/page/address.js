// Keeps options and view in the fragment of the address, and the report in the history entry, so that Reload, Back and
// Forward show it again.

const fragmentParameters = () => new URLSearchParams(location.hash.slice(1));

function fragment() {
  const parts = parameters();
  const zoom = report ? zoomedHours()?.join("/") : fragmentParameters().get("zoom");
  const viewState = { chart: view.chart, step: view.step === "auto" ? "" : view.step, hide: [...view.hidden].join(), compare: view.compare, zoom };
  for (const [name, value] of Object.entries(viewState)) if (value) parts.set(name, value);
  return parts.size ? `#${parts.toString().replaceAll("%3A", ":").replaceAll("%2F", "/").replaceAll("%2C", ",")}` : "";
}

function saveState(isNew = false) {
  const { text, name, summary, usedOptions } = report ?? {};
  const saved = text && !report.finals ? { text, name, summary, usedOptions, secondReport: secondReport && { name: secondReport.name, text: secondReport.text } } : null;
  const write = (state) => history[isNew ? "pushState" : "replaceState"](state, "", `${location.pathname}${location.search}${fragment()}`);
  try {
    write(saved);
  } catch {
    write(null); // the report exceeds the browser's limit
  }
}

// Restores options and view from the address, and the report from the history entry.
function restoreState() {
  const parts = fragmentParameters();
  setOptions(parts);
  const known = (name, values, fallback) => (values.includes(parts.get(name)) ? parts.get(name) : fallback);
  view.chart = known("chart", ["lines", "panels", "stack", "rates"], "");
  view.step = known("step", ["1", "24", "168"], "auto");
  view.compare = known("compare", ["previous", "file"], "");
  view.hidden = new Set(EVENTS.filter((name) => parts.get("hide")?.split(",").includes(name)));
  if (history.state?.text) showSavedReport(history.state);
  else if (report) showView();
  restoreZoom(parts.get("zoom")?.split("/"));
  markOptions(report?.usedOptions);
  saveState();
}

function showSavedReport({ text, name, summary, usedOptions, secondReport: second }) {
  secondReport = second && { ...second, rows: parseReport(second.text).rows };
  find("problem").hidden = true;
  showReport(text, name, summary);
  report.usedOptions = usedOptions;
}
