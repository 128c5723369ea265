'use strict';
/* Choosing rows, and pages that keep themselves fresh. Everything works without it. */
{
    const LIST_SECONDS = 10;
    const PAGE_SECONDS = 2;
    const SLOWEST_SECONDS = 15;

    const chosen = () => Array.from(document.querySelectorAll('#durable-batch input.action-select'));

    function count() {
        const shown = document.querySelector('.durable-count');
        if (!shown) {
            return;
        }
        const boxes = chosen();
        const checked = boxes.filter((box) => box.checked).length;
        shown.textContent = checked ? `${checked} ${shown.dataset.chosen}` : '';
        const every = document.querySelector('[data-durable="every"]');
        every.checked = boxes.length > 0 && checked === boxes.length;
        every.indeterminate = checked > 0 && checked < boxes.length;
    }

    let last = null;

    function choose(event) {
        const box = event.target;
        if (box.matches('[data-durable="every"]')) {
            chosen().forEach((each) => { each.checked = box.checked; });
        } else if (box.matches('input.action-select')) {
            const boxes = chosen();
            if (shift && last && boxes.includes(last)) {
                const [from, to] = [boxes.indexOf(last), boxes.indexOf(box)].sort((a, b) => a - b);
                boxes.slice(from, to + 1).forEach((each) => { each.checked = box.checked; });
            }
            last = box;
        } else {
            return;
        }
        count();
    }

    let shift = false;
    document.addEventListener('keydown', (event) => { shift = event.shiftKey; });
    document.addEventListener('keyup', (event) => { shift = event.shiftKey; });
    document.addEventListener('click', (event) => { shift = event.shiftKey; }, true);
    document.addEventListener('change', choose);

    /* Replaces what is shown, and leaves alone what somebody did to it: choices, open details, the focus. */
    function replace(text) {
        const here = document.getElementById('durable-live');
        const fresh = new DOMParser().parseFromString(text, 'text/html').getElementById('durable-live');
        if (!here || !fresh) {
            return;
        }
        const checked = new Set(chosen().filter((box) => box.checked).map((box) => box.value));
        const verb = here.querySelector('select[name="verb"]');
        const all = here.querySelector('input[name="all"]');
        const opened = new Map(Array.from(here.querySelectorAll('details[id]')).map((each) => [each.id, each.open]));
        const focus = document.activeElement && here.contains(document.activeElement) ? key(document.activeElement) : '';
        fresh.querySelectorAll('input.action-select').forEach((box) => { box.checked = checked.has(box.value); });
        fresh.querySelectorAll('details[id]').forEach((each) => {
            if (opened.has(each.id)) {
                each.open = opened.get(each.id);
            }
        });
        if (verb && fresh.querySelector('select[name="verb"]')) {
            fresh.querySelector('select[name="verb"]').value = verb.value;
            fresh.querySelector('input[name="all"]').checked = all.checked;
        }
        const scrolled = Array.from(here.querySelectorAll('.durable-timeline')).map((each) => [each.scrollLeft, each.scrollTop]);
        here.replaceWith(document.adoptNode(fresh));
        fresh.querySelectorAll('.durable-timeline').forEach((each, number) => {
            [each.scrollLeft, each.scrollTop] = scrolled[number] || [0, 0];
        });
        last = null;
        remember();
        count();
        if (focus) {
            const found = Array.from(document.querySelectorAll('#durable-live a, #durable-live input, #durable-live select, #durable-live summary')).find((each) => key(each) === focus);
            if (found) {
                found.focus({preventScroll: true});
            }
        }
    }

    function key(element) {
        const box = element.closest('details[id]');
        return [element.tagName, element.name, element.value, element.getAttribute('href'), element.dataset.durable, box && box.id].join('|');
    }

    function remember() {
        const auto = document.querySelector('[data-durable="auto"]');
        if (auto) {
            auto.checked = stored() !== 'off';
            auto.addEventListener('change', () => store(auto.checked ? 'on' : 'off'));
        }
    }

    function stored() {
        try {
            return window.localStorage.getItem('durable.auto');
        } catch {
            return 'on';
        }
    }

    function store(value) {
        try {
            window.localStorage.setItem('durable.auto', value);
        } catch {
            /* Private windows may have none. */
        }
    }

    const busy = () => document.hidden || document.activeElement instanceof HTMLSelectElement;

    async function page() {
        const response = await fetch(window.location.href, {credentials: 'same-origin'});
        if (response.ok && !response.redirected) {
            replace(await response.text());
        }
    }

    async function refresh() {
        if (!busy() && stored() !== 'off') {
            await page().catch(() => {});
        }
        window.setTimeout(refresh, LIST_SECONDS * 1000);
    }

    async function watch(seconds) {
        const here = document.getElementById('durable-live');
        let pause = Math.min(seconds * 1.2, SLOWEST_SECONDS);
        if (!here || !here.dataset.live) {
            return;
        }
        if (!busy()) {
            try {
                const response = await fetch(here.dataset.live, {credentials: 'same-origin'});
                if (!response.ok || response.redirected) {
                    return;
                }
                const now = await response.json();
                if (now.state !== here.dataset.state || now.closed) {
                    await page();
                    pause = PAGE_SECONDS;
                }
                if (now.closed) {
                    return;
                }
            } catch {
                /* The site may be away for a moment. */
            }
        }
        window.setTimeout(() => watch(pause), pause * 1000);
    }

    function begin() {
        const live = document.getElementById('durable-live');
        remember();
        count();
        if (!live) {
            return;
        }
        if (live.dataset.live) {
            window.setTimeout(() => watch(PAGE_SECONDS), PAGE_SECONDS * 1000);
        } else if (live.dataset.refresh) {
            window.setTimeout(refresh, LIST_SECONDS * 1000);
        }
    }

    if (document.readyState === 'loading') {
        document.addEventListener('DOMContentLoaded', begin);
    } else {
        begin();
    }
}
