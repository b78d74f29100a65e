// What "Make report" makes: the files, text or sample that was chosen last, and the options.
"use strict";

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
  const many = files.length > MOST_FILES ? `These are ${integer.format(files.length)} files; this page takes ${integer.format(MOST_FILES)}.` : "";
  const twice = files.length > 1 && options().deduplicate ? "Duplicates in different files are found only when all files are read together." : "";
  return many || twice;
}

function commandLine() {
  const { zone, factor, skip, deduplicate } = options();
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const zoned = zone ? [`${isOffset(zone) ? "--utc_offset" : "--time_zone"}=${quoted(zone)}`] : [];
  return ["python -m pipeline 'FOLDER/*'", ...zoned, ...(factor ? [`--impressions_factor=${quoted(factor)}`] : []), ...(skip ? ["--skip_rejects"] : []), ...(deduplicate ? ["--deduplicate"] : [])].join(" ");
}

// ---- Options

const isOffset = (zone) => /^[+-]\d/.test(zone);
const options = () => ({ zone: find("time-zone").value.trim(), factor: find("factor").value.trim(), skip: find("skip").checked, deduplicate: find("once").checked });
const OPTION_FIELDS = { zone: "time-zone", factor: "factor", skip: "skip", deduplicate: "once" };

function setOptions({ zone, factor, skip, deduplicate }) {
  find("time-zone").value = zone;
  find("factor").value = factor;
  find("skip").checked = skip;
  find("once").checked = deduplicate;
}

// What differs from how the server makes reports anyway, as its query.
function query() {
  const { zone, factor, skip, deduplicate } = options();
  const asked = new URLSearchParams();
  if (zone && zone !== server.zone) asked.set(isOffset(zone) ? "utc_offset" : "time_zone", zone);
  if (factor && factor !== server.factor) asked.set("impressions_factor", factor);
  if (skip !== server.skip) asked.set("rejects", skip ? "skip" : "refuse");
  if (deduplicate !== server.deduplicate) asked.set("deduplicate", deduplicate);
  return asked;
}

// Marks the options that differ from those of the report that is shown.
function markOptions(made) {
  const now = options();
  const differing = Object.keys(OPTION_FIELDS).filter((name) => made && made[name] !== now[name]);
  for (const [name, id] of Object.entries(OPTION_FIELDS)) find(id).closest("label").classList.toggle("differs", differing.includes(name));
  find("differs").textContent = differing.length ? "Marked options differ from the report below." : "";
}

function offerZones() {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = new Set([server.zone, own, "+01:00", "UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])]);
  find("zones").replaceChildren(...[...zones].map((value) => element("option", { value })));
}

// ---- The sample

// A made-up day of a campaign, 2021-04-02 in UTC+01:00: quiet at night, busiest in the evening. It is the same each time.
function* sampleDay() {
  const byHour = [14, 9, 6, 5, 6, 11, 24, 43, 52, 48, 47, 51, 60, 58, 50, 52, 61, 78, 96, 118, 124, 101, 63, 31];
  const stays = [0.71, 0.87, 0.83, 0.86, 0.88]; // the share of viewers that each step keeps
  let state = 20210402;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647;
  const hex = (digits) => Math.floor(random() * 16 ** digits).toString(16).padStart(digits, "0");
  for (const [hour, impressions] of byHour.entries()) {
    for (let viewer = 0; viewer < impressions; viewer++) {
      let timestamp = 1617318000 + 3600 * hour + Math.floor(random() * 3500);
      for (const [step, event] of EVENTS.entries()) {
        if (step && random() > stays[step - 1]) break;
        yield `${JSON.stringify({ id: `${hex(4)}-${hex(4)}-${hex(4)}-${hex(4)}`, event, timestamp })}\n`;
        timestamp += 8;
      }
    }
  }
}
