"use strict";
// Where a table is wider than the page, each row becomes a block (see site.css).
function fitTables() {
  for (const table of document.querySelectorAll(".md-typeset table:not([class])")) {
    const headings = [...table.querySelectorAll("thead th")].map(th => th.textContent.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, i) => { cell.dataset.label = headings[i] ?? ""; });
    }
    const box = table.closest(".md-typeset__scrollwrap") ?? table; // the theme puts it around
    table.removeAttribute("data-blocks");
    if (box.scrollWidth > box.clientWidth) { table.dataset.blocks = ""; }
  }
}
addEventListener("load", fitTables);
addEventListener("resize", fitTables);
