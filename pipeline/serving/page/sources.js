// The input of "Make report": the files, text or sample chosen last, and the options.

const MAX_FILES = 1000;
const SIDECAR = /^[._]|\.(crc|final)$|\.md5$/; // files that the command line skips in folders, too
const server = JSON.parse(document.querySelector("meta[name=server]").content); // size limit and default options
const mebibytes = (bytes) => (bytes < 1e5 ? `${integer.format(bytes)} bytes` : `${Number((bytes / 2 ** 20).toFixed(1))} MiB`);
let chosen = null; // { name, files: [{ name, blob }] }
let chosenFiles = null; // chosen again when the text is cleared

function choose(source) {
  chosen = source;
  if (source && !source.isText) chosenFiles = source;
  const size = source && sum(source.files.map(({ blob }) => blob.size));
  find("chosen").textContent = source ? `Chosen: ${source.name}, ${mebibytes(size)}` : "";
}

function chooseFiles(files, folder = "") {
  const wanted = files.map((file) => ({ name: file.name, blob: file })).filter(({ name }) => files.length === 1 || !SIDECAR.test(name));
  if (!wanted.length) return void setStatus(folder ? `${folder} contains no event files.` : "");
  choose({ name: wanted.length === 1 ? wanted[0].name : folder || `${wanted.length} files`, files: wanted });
  makeChosen();
}

function chooseText() {
  const text = find("text").value;
  choose(text.trim() ? { name: "the pasted text", files: [{ name: "the pasted text", blob: new Blob([text]) }], isText: true } : chosenFiles);
}

function chooseSample() {
  choose({ name: "the sample", files: [{ name: "the sample", blob: new Blob(sampleDay()) }] });
  makeChosen();
}

// Reads dropped folders recursively, except hidden folders.
async function chooseDropped({ items, files }) {
  const plain = [...files]; // the browser clears the transfer at the first await
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return chooseFiles(plain);
  setStatus(`Reading ${entries[0].name} …`);
  chooseFiles((await Promise.all(entries.map(filesOf))).flat(), entries[0].name);
}

async function filesOf(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  if (entry.name.startsWith(".")) return [];
  const reader = entry.createReader();
  const found = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) found.push(...some);
  return (await Promise.all(found.sort((one, other) => one.name.localeCompare(other.name)).map(filesOf))).flat();
}

// Why these files need the command line, or "".
function multiFileProblem({ files }) {
  if (files.length > MAX_FILES) return `You chose ${integer.format(files.length)} files; this page accepts at most ${integer.format(MAX_FILES)}.`;
  return files.length > 1 && options().deduplicate ? "This page sends one file at a time, so it cannot find duplicates across files." : "";
}

function commandLine() {
  const query = parameters({ zone: "+01:00", factor: "0.1", skip: false, deduplicate: false });
  const flags = { rejects: "--skip_rejects", deduplicate: "--deduplicate" };
  return ["python -m pipeline 'FOLDER/*'", ...[...query].map(([name, value]) => flags[name] ?? `--${name}='${value.replaceAll("'", "'\\''")}'`)].join(" ");
}

const OPTION_FIELDS = { zone: "time-zone", factor: "factor", skip: "skip", deduplicate: "once" };
const options = () => ({ zone: find("time-zone").value.trim(), factor: find("factor").value.trim(), skip: find("skip").checked, deduplicate: find("once").checked });

// Options that differ from the server's defaults, as query parameters.
function parameters(defaults = server) {
  const { zone, factor, skip, deduplicate } = options();
  const query = new URLSearchParams();
  if (zone && zone !== defaults.zone) query.set(/^[+-]\d/.test(zone) ? "utc_offset" : "time_zone", zone);
  if (factor && factor !== defaults.factor) query.set("impressions_factor", factor);
  if (skip !== defaults.skip) query.set("rejects", skip ? "skip" : "refuse");
  if (deduplicate !== defaults.deduplicate) query.set("deduplicate", deduplicate);
  return query;
}

function setOptions(query) {
  find("time-zone").value = query.get("utc_offset") ?? query.get("time_zone") ?? server.zone;
  find("factor").value = query.get("impressions_factor") ?? server.factor;
  find("skip").checked = query.has("rejects") ? query.get("rejects") === "skip" : server.skip;
  find("once").checked = query.has("deduplicate") ? query.get("deduplicate") === "true" : server.deduplicate;
}

// Marks the options that differ from those of the current report.
function markOptions(usedOptions) {
  const now = options();
  const differing = Object.keys(OPTION_FIELDS).filter((name) => usedOptions && usedOptions[name] !== now[name]);
  for (const [name, id] of Object.entries(OPTION_FIELDS)) find(id).closest("label").classList.toggle("differs", differing.includes(name));
  find("differs").textContent = differing.length ? "The marked options differ from those of the report below." : "";
}

function offerZones() {
  const zones = new Set([server.zone, Intl.DateTimeFormat().resolvedOptions().timeZone, "+01:00", "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  find("zones").replaceChildren(...[...zones].map((value) => element("option", { value })));
}

// A made-up day of a campaign, 2021-04-02 in UTC+01:00: quiet at night, busiest in the evening.
function* sampleDay() {
  const byHour = [14, 9, 6, 5, 6, 11, 24, 43, 52, 48, 47, 51, 60, 58, 50, 52, 61, 78, 96, 118, 124, 101, 63, 31];
  const reached = [1, 0.71, 0.87, 0.83, 0.86, 0.88]; // mean share of viewers that reach the next step
  for (let [hour, viewers] of byHour.entries()) {
    for (const [step, event] of EVENTS.entries()) {
      viewers = Math.round(viewers * (reached[step] + (step && 0.05 * Math.sin(7 * hour + step))));
      for (let viewer = 0; viewer < viewers; viewer++) {
        const timestamp = 1617318000 + 3600 * hour + ((37 * viewer) % 3500) + 8 * step;
        yield `${JSON.stringify({ id: `${event}-${hour}-${viewer}`, event, timestamp })}\n`;
      }
    }
  }
}
