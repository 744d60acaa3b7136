addEventListener("DOMContentLoaded", () => {
  // What is wider than the page scrolls by itself; a keyboard must be able to reach it.
  for (const box of document.querySelectorAll(".output.text_html, .table-wrapper, .highlight pre, .output pre, .scrolls")) {
    if (box.scrollWidth <= box.clientWidth) continue;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", box.querySelector("caption")?.textContent || "Scrolls sideways");
  }
  // Sphinx calls the captions of the table of contents headings, without their level.
  for (const caption of document.querySelectorAll("[role=heading]:not([aria-level])")) caption.setAttribute("aria-level", "2");
});
