// What "Make report" makes: the files, text or sample that was chosen last, and the options.

const MOST_FILES = 1000;
const SIDECAR = /^[._]|\.(crc|final)$|\.md5$/; // as the command line leaves them out of a folder
const server = JSON.parse(document.querySelector("meta[name=server]").content); // its limit, and how it makes reports
const mebibytes = (bytes) => (bytes < 1e5 ? `${integer.format(bytes)} bytes` : `${Number((bytes / 2 ** 20).toFixed(1))} MiB`);
let chosen = null; // { name, files: [{ name, blob }] }
let chosenFiles = null; // what is chosen again when the text is cleared

function choose(source) {
  chosen = source;
  if (source && !source.isText) chosenFiles = source;
  const size = source && sum(source.files.map(({ blob }) => blob.size));
  find("chosen").textContent = source ? `Chosen: ${source.name}, ${mebibytes(size)}` : "";
}

function chooseFiles(files, folder = "") {
  const wanted = files.map((file) => ({ name: file.name, blob: file })).filter(({ name }) => files.length === 1 || !SIDECAR.test(name));
  if (!wanted.length) return void say(folder ? `${folder} has no files of events.` : "");
  choose({ name: wanted.length === 1 ? wanted[0].name : folder || `${wanted.length} files`, files: wanted });
  make();
}

function chooseText() {
  const text = find("text").value;
  choose(text.trim() ? { name: "the pasted text", files: [{ name: "the pasted text", blob: new Blob([text]) }], isText: true } : chosenFiles);
}

function chooseSample() {
  choose({ name: "the sample", files: [{ name: "the sample", blob: new Blob(sampleDay()) }] });
  make();
}

// Files of what was dropped: those of folders too, however deep, hidden folders excepted.
async function chooseDropped({ items, files }) {
  const plain = [...files]; // the browser empties both once this function has waited
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return chooseFiles(plain);
  say(`Reading ${entries[0].name} …`);
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

// Why the page does not make a report of several files, and the command that does; "" where it does.
function refusalOf({ files }) {
  if (files.length > MOST_FILES) return `These are ${integer.format(files.length)} files; this page takes ${integer.format(MOST_FILES)}.`;
  return files.length > 1 && options().deduplicate ? "Duplicates in different files are found only when all files are read together." : "";
}

function commandLine() {
  const asked = parameters({ zone: "+01:00", factor: "0.1", skip: false, deduplicate: false });
  const flags = { rejects: "--skip_rejects", deduplicate: "--deduplicate" };
  return ["python -m pipeline 'FOLDER/*'", ...[...asked].map(([name, value]) => flags[name] ?? `--${name}='${value.replaceAll("'", "'\\''")}'`)].join(" ");
}

const OPTION_FIELDS = { zone: "time-zone", factor: "factor", skip: "skip", deduplicate: "once" };
const options = () => ({ zone: find("time-zone").value.trim(), factor: find("factor").value.trim(), skip: find("skip").checked, deduplicate: find("once").checked });

// The options that differ from how the server makes reports anyway, as parameters of its address.
function parameters(usual = server) {
  const { zone, factor, skip, deduplicate } = options();
  const asked = new URLSearchParams();
  if (zone && zone !== usual.zone) asked.set(/^[+-]\d/.test(zone) ? "utc_offset" : "time_zone", zone);
  if (factor && factor !== usual.factor) asked.set("impressions_factor", factor);
  if (skip !== usual.skip) asked.set("rejects", skip ? "skip" : "refuse");
  if (deduplicate !== usual.deduplicate) asked.set("deduplicate", deduplicate);
  return asked;
}

function setOptions(asked) {
  find("time-zone").value = asked.get("utc_offset") ?? asked.get("time_zone") ?? server.zone;
  find("factor").value = asked.get("impressions_factor") ?? server.factor;
  find("skip").checked = asked.has("rejects") ? asked.get("rejects") === "skip" : server.skip;
  find("once").checked = asked.has("deduplicate") ? asked.get("deduplicate") === "true" : server.deduplicate;
}

// Marks the options that differ from those of the report that is shown.
function markOptions(made) {
  const now = options();
  const differing = Object.keys(OPTION_FIELDS).filter((name) => made && made[name] !== now[name]);
  for (const [name, id] of Object.entries(OPTION_FIELDS)) find(id).closest("label").classList.toggle("differs", differing.includes(name));
  find("differs").textContent = differing.length ? "Marked options differ from the report below." : "";
}

function offerZones() {
  const zones = new Set([server.zone, Intl.DateTimeFormat().resolvedOptions().timeZone, "+01:00", "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  find("zones").replaceChildren(...[...zones].map((value) => element("option", { value })));
}

// A made-up day of a campaign, 2021-04-02 in UTC+01:00: quiet at night, busiest in the evening.
function* sampleDay() {
  const byHour = [14, 9, 6, 5, 6, 11, 24, 43, 52, 48, 47, 51, 60, 58, 50, 52, 61, 78, 96, 118, 124, 101, 63, 31];
  const kept = [1, 0.71, 0.87, 0.83, 0.86, 0.88]; // the share of viewers that each step keeps, more or less
  for (let [hour, viewers] of byHour.entries()) {
    for (const [step, event] of EVENTS.entries()) {
      viewers = Math.round(viewers * (kept[step] + (step && 0.05 * Math.sin(7 * hour + step))));
      for (let viewer = 0; viewer < viewers; viewer++) {
        const timestamp = 1617318000 + 3600 * hour + ((37 * viewer) % 3500) + 8 * step;
        yield `${JSON.stringify({ id: `${event}-${hour}-${viewer}`, event, timestamp })}\n`;
      }
    }
  }
}
