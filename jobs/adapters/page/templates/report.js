"use strict";
for (const box of document.querySelectorAll(".table")) {
  const table = box.querySelector("table");
  const body = table.tBodies[0];
  const rows = [...body.rows].filter((row) => !row.querySelector(".none"));
  const status = box.querySelector(".status");
  if (rows.length < 2) continue;
  box.querySelector(".tools").hidden = false;

  const key = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const isNumber = heading.classList.contains("number");
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      const down = before === "none" ? isNumber : before === "ascending";
      for (const other of headings) other.setAttribute("aria-sort", "none");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const compare = isNumber
        ? (a, b) => (Number(key(a, column)) || 0) - (Number(key(b, column)) || 0)
        : (a, b) => key(a, column).localeCompare(key(b, column), "en", { numeric: true });
      const sorted = rows.slice().sort(down ? (a, b) => compare(b, a) : compare);
      body.append(...sorted);
      status.textContent = `Sorted by ${button.textContent}, ${down ? "descending" : "ascending"}.`;
    });
  });

  const texts = rows.map((row) => row.textContent.toLowerCase());
  const filter = box.querySelector("input");
  box.querySelector(".tools").classList.toggle("short", rows.length < 8);
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, number) => {
      row.hidden = !words.every((word) => texts[number].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    status.textContent = words.length ? `${shown} of ${rows.length} rows.` : "";
  });
}
