// What is wider than the page scrolls by itself; a keyboard must be able to reach it.
addEventListener("DOMContentLoaded", () => {
  for (const box of document.querySelectorAll(".output.text_html, .table-wrapper, .highlight pre, .output pre, .scrolls")) {
    if (box.scrollWidth <= box.clientWidth) continue;
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", box.querySelector("caption")?.textContent || "Scrolls sideways");
  }
});
