// Saves the chart as SVG or PNG, and prepares the page for printing.

const PICTURE_STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "font-size", "font-family", "font-weight", "display"];
const PADDING = 16; // pixels around the picture
const PIXEL_RATIO = 2; // PNG pixels per CSS pixel
const PRINT_WIDTH = 1000; // width of the printed chart in pixels
const printMedia = matchMedia("print"); // a reference keeps the listener alive

// The chart as SVG text with title and legend. Styles become attributes, because the file has no style sheet.
function pictureText() {
  const drawn = find("chart").querySelector("svg");
  const picture = drawn.cloneNode(true);
  const [width, height] = [Number(drawn.getAttribute("width")) + 2 * PADDING, Number(drawn.getAttribute("height")) + 80 + PADDING];
  const originals = drawn.querySelectorAll("*");
  picture.querySelectorAll("*").forEach((node, index) => inlineStyle(node, originals[index]));
  Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height, viewBox: `${-PADDING} -40 ${width} ${height}` }).forEach(([name, value]) => picture.setAttribute(name, value));
  const [ink, card] = ["color", "background-color"].map((name) => getComputedStyle(find("chart-card")).getPropertyValue(name));
  picture.prepend(svg("rect", { x: -PADDING, y: -40, width, height, fill: card }), svg("text", { y: -16, fill: ink, "font-family": "sans-serif", "font-size": 15 }, `Report for ${report.name}: ${rangeTitle(visibleRows(), chart.unit)}`));
  picture.append(...pictureLegend(width - 2 * PADDING, height - 84, ink));
  return new XMLSerializer().serializeToString(picture);
}

function inlineStyle(node, original) {
  const style = getComputedStyle(original);
  PICTURE_STYLES.forEach((name) => node.setAttribute(name, style.getPropertyValue(name)));
}

function pictureLegend(width, top, ink) {
  const wide = width / 3;
  return chart.visible.flatMap(({ name, label, order, text }, index) => {
    const [x, y] = [(index % 3) * wide, top + 20 * Math.floor(index / 3)];
    const colour = getComputedStyle(find("legend").children[namesOfMode().indexOf(name)].querySelector("i")).borderTopColor;
    const words = `${label} ${text(totals(visibleRows()))}`;
    return [svg("rect", { x, y: y - 9, width: 10, height: 10, rx: 2, fill: colour }), svg("text", { x: x + 16, y, fill: ink, "font-family": "sans-serif", "font-size": 12 }, words)];
  });
}

async function savePng() {
  const text = pictureText();
  const picture = new Image();
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await picture.decode();
  const canvas = element("canvas", { width: picture.width * PIXEL_RATIO, height: picture.height * PIXEL_RATIO });
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => saveAs(`${stem(report.name)}.png`, blob), "image/png");
}

function preparePrint() {
  if (!report) return;
  showRows(Infinity);
  draw(PRINT_WIDTH);
}

find("png").onclick = savePng;
find("svg").onclick = () => saveAs(`${stem(report.name)}.svg`, new Blob([pictureText()], { type: "image/svg+xml" }));
printMedia.onchange = ({ matches }) => (matches ? preparePrint() : draw());
