// What scrolls by itself can be scrolled with the keyboard; what is folded is printed, too.
const scrollers = ".highlight pre, .table-wrapper, .cell_output .output";
function reach() {
    for (const box of document.querySelectorAll(scrollers)) {
        if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
        else box.removeAttribute("tabindex");
    }
}
addEventListener("load", reach);
addEventListener("resize", reach);
addEventListener("toggle", reach, true);
addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
});
