const dark = matchMedia("(prefers-color-scheme: dark)");
// With a mouse, dragging zooms into a chart. On a touch screen, dragging scrolls the page.
const hasMouse = matchMedia("(hover: hover)").matches;

function draw(container) {
  const figure = JSON.parse(document.getElementById(container.dataset.chart).textContent);
  const template = TEMPLATES[dark.matches ? "dark" : "light"];
  const layout = { ...figure.layout, template, dragmode: hasMouse && "zoom" };
  return Plotly.react(container, figure.data, layout, { ...CONFIG, displayModeBar: hasMouse && "hover" });
}

// Draws the charts one by one with pauses, so that the page stays responsive.
async function drawAll() {
  delete document.body.dataset.drawn;
  for (const container of document.querySelectorAll("[data-chart]")) {
    try {
      await draw(container);
    } catch (error) {
      container.textContent = "This chart could not be drawn.";
      console.error(error);
    }
    await new Promise((resolve) => setTimeout(resolve));
  }
  document.body.dataset.drawn = dark.matches ? "dark" : "light";
}

function makeSortable(table) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(table, head, column));
  });
}

function sortBy(table, head, column) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => compare(a, b, column) * (descending ? -1 : 1));
  // Empty cells come last in both orders.
  const isEmpty = (row) => row.cells[column].textContent === "";
  body.replaceChildren(...rows.filter((row) => !isEmpty(row)), ...rows.filter(isEmpty));
}

function compare(a, b, column) {
  const [left, right] = [a, b].map((row) => row.cells[column].textContent);
  return isNumber(left, right) ? left - right : left.localeCompare(right);
}

function isNumber(...texts) {
  return texts.every((text) => text !== "" && !Number.isNaN(Number(text)));
}

document.querySelectorAll("table[data-sortable]").forEach(makeSortable);
dark.addEventListener("change", drawAll);
drawAll();
