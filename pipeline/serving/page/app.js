// Event handlers of the page: buttons, keys, drops and changes of the address.

function makeChosen() {
  if (chosen) return void run(chosen, showNewReport);
  setStatus("Choose a file or paste events first.");
  find("text").focus();
}

function showNewReport(text, name, summary) {
  const usedOptions = "read" in summary ? options() : null; // unknown for a report that was uploaded as CSV
  live = null;
  find("live-note").textContent = "";
  find("problem").hidden = true;
  showReport(text, name, summary);
  report.usedOptions = usedOptions;
  markOptions(usedOptions);
  saveState(true);
  setStatus(report.rows.length ? "The report is ready." : "The report is ready. It contains no events.");
  reveal("summary", "report-title");
}

function showCompared(text, name) {
  find("problem").hidden = true;
  compareWith(name, text);
  setStatus(`Compared with ${name}.`);
}

function reveal(section, focused) {
  find(focused).focus({ preventScroll: true });
  find(section).scrollIntoView({ block: section === "summary" ? "start" : "nearest" });
}

find("file").onchange = ({ target }) => {
  chooseFiles([...target.files]);
  target.value = ""; // allows choosing the same file again after a correction
};
find("compare-file").onchange = ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) run({ name: file.name, files: [{ name: file.name, blob: file }] }, showCompared);
};
find("text").oninput = chooseText;
find("sample").onclick = chooseSample;
find("cancel").onclick = cancel;
find("form").onsubmit = (event) => {
  event.preventDefault();
  if (!running) makeChosen();
};
find("options").oninput = () => {
  markOptions(report?.usedOptions);
  saveState();
};
find("again").onsubmit = (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  failedJob.again ? failedJob.again() : run(failedJob.source, failedJob.use);
};
document.addEventListener("viewchange", () => saveState());
addEventListener("popstate", restoreState);
document.onkeydown = (event) => {
  if (event.key === "Escape" && running) cancel();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target === find("text")) find("form").requestSubmit();
};
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    find("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") chooseDropped(event.dataTransfer);
  });
}
offerZones();
restoreState();
if (server.live) startLive();
