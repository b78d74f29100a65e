// Connects the page's parts: what a press, a key, a drop or a change of the address does.

function make() {
  if (chosen) return void run(chosen, showMade);
  say("Paste some events first, or choose a file.");
  find("text").focus();
}

function showMade(text, name, summary) {
  const made = "read" in summary ? options() : null; // a report that was read as it is has none of them
  live = null;
  find("live-note").textContent = "";
  find("problem").hidden = true;
  showReport(text, name, summary);
  report.made = made;
  markOptions(made);
  remember(true);
  say(report.rows.length ? "The report is ready." : "The report is ready: it has no events.");
  reveal("summary", "report-title");
}

function showCompared(text, name) {
  find("problem").hidden = true;
  compareWith(name, text);
  say(`Compared with ${name}.`);
}

function reveal(section, focused) {
  find(focused).focus({ preventScroll: true });
  find(section).scrollIntoView({ block: section === "summary" ? "start" : "nearest" });
}

find("file").onchange = ({ target }) => {
  chooseFiles([...target.files]);
  target.value = ""; // so that the same file can be chosen again after a correction
};
find("other").onchange = ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) run({ name: file.name, files: [{ name: file.name, blob: file }] }, showCompared);
};
find("text").oninput = chooseText;
find("sample").onclick = chooseSample;
find("cancel").onclick = cancel;
find("form").onsubmit = (event) => {
  event.preventDefault();
  if (!running) make();
};
find("options").oninput = () => {
  markOptions(report?.made);
  remember();
};
find("again").onsubmit = (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  failed.again ? failed.again() : run(failed.source, failed.use);
};
document.addEventListener("viewchange", () => remember());
addEventListener("popstate", restore);
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
restore();
if (server.live) startLive();
