// How the campaign did: key figures, and the funnel from impressions to completed views.

const STEPS = ["Impressions", "Started", "Reached 25%", "Reached 50%", "Reached 75%", "Completed"]; // in the order of EVENTS

// rows: those that the chart shows. before: those to compare with, or null.
function showFigures(rows, before) {
  const [counts, old] = [totals(rows), before && totals(before)];
  const scaled = decimalSum(rows.map((row) => row.scaled));
  const [first, last] = rows.length ? [rows[0], rows.at(-1)].map(rowHour) : ["–", "–"];
  const figures = [
    ["Impressions", integer.format(counts[0]), countChange(counts[0], old?.[0])],
    ...RATES.map((rate) => [rate.label, rateText(rateOf(counts, rate)), rateChange(rate, counts, old), caution(counts, rate) || `of ${rate.noun}`, caution(counts, rate)]),
    ["Impressions scaled", grouped(scaled), old && countChange(Number(scaled), Number(decimalSum(before.map((row) => row.scaled))))],
    ["First hour", first],
    ["Last hour", last],
  ];
  find("figures").replaceChildren(...figures.map(figure));
  showFunnel(counts, old);
}

const figure = ([label, value, change, note = "", few = ""]) =>
  element("div", few ? { class: "few" } : {}, element("dt", {}, label), element("dd", {}, value), ...(change ? [element("dd", { class: "change" }, change)] : []), element("dd", { class: "quiet" }, note));

function countChange(now, old) {
  if (old === undefined || old === null) return "";
  return old ? `${signed.format((100 * (now - old)) / old)}% from ${short.format(old)}` : "from 0";
}

function rateChange(rate, counts, old) {
  if (!old) return "";
  const [now, then] = [rateOf(counts, rate), rateOf(old, rate)];
  return now === null || then === null ? "no rate to compare" : `${signed.format(100 * (now - then))} points`;
}

function showFunnel(counts, old) {
  const base = counts[0] ? 0 : 1; // a report without impressions begins with what was started
  const most = Math.max(...counts);
  find("funnel-card").hidden = !most;
  find("funnel-note").textContent = base ? "There are no impressions here: shares are of started views." : "";
  find("funnel").replaceChildren(...counts.map((count, order) => funnelStep(counts, order, base)));
  [...find("funnel").children].forEach((step, order) => {
    step.querySelector("i").style.inlineSize = `${(100 * counts[order]) / (most || 1)}%`;
    if (old) step.querySelector(".count").append(element("small", {}, countChange(counts[order], old[order])));
  });
}

function funnelStep(counts, order, base) {
  const [share, few] = order < base ? ["", ""] : shareText(counts, order, base);
  const [loss, why] = order > base ? lossText(counts, order) : ["", ""];
  const part = (kind, text, isFew) => element("span", { class: isFew ? `${kind} few` : kind }, text);
  const parts = [part("name", STEPS[order]), element("span", { class: "track", "aria-hidden": "true" }, element("i")), part("count", integer.format(counts[order])), part("share", share, few), part("loss", loss, why)];
  return element("li", { class: `s${order}` }, ...parts, ...(why ? [element("small", { class: "why" }, why)] : []));
}

function shareText(counts, order, base) {
  if (!counts[base]) return ["–", true];
  return [`${percent.format(counts[order] / counts[base])} of ${base ? "starts" : "impressions"}`, counts[base] < FEW];
}

// What is lost from the step before, and why the figure is to be read with care, if it is.
function lossText(counts, order) {
  const [before, now] = [counts[order - 1], counts[order]];
  if (!before) return ["–", now ? "Nothing to compare with: the step before has none." : ""];
  const text = now > before ? `${percent.format(now / before - 1)} more` : `${percent.format(1 - now / before)} lost`;
  const few = before < FEW ? `Too few to judge: only ${before} in the step before.` : "";
  const more = now > before ? "More than in the step before: its events are missing or came before these hours." : "";
  return [text, [few, more].filter(Boolean).join(" ")];
}
