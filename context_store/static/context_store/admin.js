/* Older messages come in above the others. Without this script the link leads to a page of them. */
"use strict";

/* A picture from the web tells its server who looks, and when: it is asked for on demand alone. */
const offerPictures = (root) => root.querySelectorAll("[data-ctx-picture][hidden]").forEach((place) => {
    place.hidden = false;
    place.addEventListener("toggle", () => {
        const picture = document.createElement("img");
        picture.referrerPolicy = "no-referrer";
        picture.className = "ctx-shown";
        picture.alt = "";
        picture.addEventListener("error", () => picture.replaceWith(place.dataset.ctxFailed));
        picture.src = place.dataset.ctxPicture;
        place.append(picture);
    }, {once: true});
});
document.addEventListener("DOMContentLoaded", () => {
    offerPictures(document);
    /* A chat opens at its newest message. */
    const newest = document.querySelector("[data-ctx-newest] > :last-child");
    if (newest && !window.location.hash && newest.getBoundingClientRect().top > window.innerHeight) {
        newest.scrollIntoView({block: "end"});
    }
});

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
        offerPictures(turns);
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
