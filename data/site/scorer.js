// Search results: a page about an error whose title has most words of the query comes first.
// The numbers of Scorer are Sphinx's own.
const wordsOf = (text) => text.toLowerCase().match(/[a-z_]+/g) || [];
const asked = wordsOf(new URLSearchParams(location.search).get("q") || "");
var Scorer = {
    score: ([page, title, anchor, description, score]) => {
        const named = new Set(wordsOf(title));
        const share = asked.filter((word) => named.has(word)).length / asked.length;
        return page.startsWith("errors/") && asked.length > 1 && share > 0.6 ? score + 50 * share : score;
    },
    objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
    title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
