// The chart as a picture of its own, and what is shown on paper.

const PICTURE_STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "font-size", "font-family", "font-weight", "display"];
const PAD = 16; // around the picture, in pixels
const PIXELS = 2; // of the PNG, for each of the page's
const PAPER = 1000; // width of the chart on paper, in pixels
const paper = matchMedia("print"); // kept, so that its listener is

// The chart as SVG text that needs no style sheet (the page may not set style attributes), with its title above and its legend below.
function pictureText() {
  const drawn = find("chart").querySelector("svg");
  const picture = drawn.cloneNode(true);
  const [width, height] = [Number(drawn.getAttribute("width")) + 2 * PAD, Number(drawn.getAttribute("height")) + 80 + PAD];
  const originals = drawn.querySelectorAll("*");
  picture.querySelectorAll("*").forEach((node, index) => inlineStyle(node, originals[index]));
  Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `${-PAD} -40 ${width} ${height}` }).forEach(([name, value]) => picture.setAttribute(name, value));
  const [ink, card] = ["color", "background-color"].map((name) => getComputedStyle(find("chart-card")).getPropertyValue(name));
  picture.prepend(svg("rect", { x: -PAD, y: -40, width, height, fill: card }), svg("text", { y: -16, fill: ink, "font-family": "sans-serif", "font-size": 15 }, `Report of ${report.name}: ${rangeTitle(shownRows(), chart.unit)}`));
  picture.append(...pictureLegend(width - 2 * PAD, height - 84, ink));
  return new XMLSerializer().serializeToString(picture);
}

function inlineStyle(node, original) {
  const style = getComputedStyle(original);
  PICTURE_STYLES.forEach((name) => node.setAttribute(name, style.getPropertyValue(name)));
}

function pictureLegend(width, top, ink) {
  const wide = width / 3;
  return chart.seen.flatMap(({ name, label, order, text }, index) => {
    const [x, y] = [(index % 3) * wide, top + 20 * Math.floor(index / 3)];
    const colour = getComputedStyle(find("legend").children[namesOfMode().indexOf(name)].querySelector("i")).borderTopColor;
    const words = `${label} ${text(totals(shownRows()))}`;
    return [svg("rect", { x, y: y - 9, width: 10, height: 10, rx: 2, fill: colour }), svg("text", { x: x + 16, y, fill: ink, "font-family": "sans-serif", "font-size": 12 }, words)];
  });
}

async function savePng() {
  const text = pictureText();
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = element("canvas", { width: picture.width * PIXELS, height: picture.height * PIXELS });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => saveAs(`${stem(report.name)}.png`, blob), "image/png");
}

function preparePaper() {
  if (!report) return;
  showRows(Infinity);
  draw(PAPER);
}

find("png").onclick = savePng;
find("svg").onclick = () => saveAs(`${stem(report.name)}.svg`, new Blob([pictureText()], { type: "image/svg+xml" }));
paper.onchange = ({ matches }) => (matches ? preparePaper() : draw());
