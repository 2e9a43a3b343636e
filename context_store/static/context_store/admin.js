/* Older messages come in above the others. Without this script the link leads to a page of them. */
"use strict";

document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-ctx-older]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) {
        return;
    }
    event.preventDefault();
    link.setAttribute("aria-busy", "true");
    try {
        const response = await fetch(link.href, {credentials: "same-origin"});
        if (!response.ok || response.redirected) {
            throw new Error(String(response.status));
        }
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const turns = document.getElementById("ctx-turns");
        const older = page.getElementById("ctx-turns");
        const above = page.getElementById("ctx-older");
        const first = turns.firstElementChild;
        const place = first ? first.getBoundingClientRect().top : 0;
        turns.prepend(...Array.from(older.children, (child) => document.importNode(child, true)));
        document.getElementById("ctx-older").replaceWith(document.importNode(above, true));
        if (first) {
            // What was being read stays where it was.
            window.scrollBy(0, first.getBoundingClientRect().top - place);
            first.setAttribute("tabindex", "-1");
            first.focus({preventScroll: true});
        }
    } catch {
        window.location.assign(link.href);
    }
});
