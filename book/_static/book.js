addEventListener("DOMContentLoaded", () => {
  // Cells of a table stay on one line, but for sentences.
  for (const cell of document.querySelectorAll(".cell_output td")) if (cell.textContent.length > 50) cell.classList.add("long");
  // On paper a table with many columns gets small letters, so that none is cut.
  for (const table of document.querySelectorAll(".cell_output table")) table.style.setProperty("--columns", Math.max(...[...table.rows].map((row) => row.cells.length)));
  // What is wider than the page scrolls by itself; a keyboard must be able to reach it.
  for (const box of document.querySelectorAll(".output.text_html, .table-wrapper, .highlight pre, .output pre, .scrolls")) {
    if (box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight) continue;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", box.querySelector("caption")?.textContent || "Scrolls");
  }
  // A fold is named by its own words ("Show the code").
  for (const fold of document.querySelectorAll("summary[aria-label]")) fold.removeAttribute("aria-label");
  // Sphinx calls the captions of the table of contents headings, without their level.
  for (const caption of document.querySelectorAll("[role=heading]:not([aria-level])")) caption.setAttribute("aria-level", "2");
});
