// Keeps the page up to date: whenever the sled tells of something, the page is asked for again, and what it shows is
// put in place of what was shown. Without the sled's events it says so, and tries again.
(() => {
  'use strict';
  const RETRY_MS = 5000, QUIET_MS = 500, GRACE_MS = 3000, AGES_MS = 15000;
  const find = (what, from = document) => from.querySelector(what);
  const program = (from) => find('meta[name=generator]', from)?.content;
  const live = find('#live');
  let shown = find('main').innerHTML, headline = find('h1').textContent;
  let tag = null, next = null, stream = null, retry = 0, lost = 0, due = 0, loading = false;

  // How long ago: beside each time that says since when something is so.
  function age(time) {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
    const units = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
    const [size, unit] = units.find(([size]) => seconds >= size) ?? units[3];
    return `${Math.floor(seconds / size)} ${unit} ago`;
  }

  function tellAges() {
    for (const time of document.querySelectorAll('time[data-ago]')) {
      let ago = time.nextElementSibling;
      if (!ago?.classList.contains('ago')) {
        ago = document.createElement('span');
        ago.className = 'ago';
        time.after(ago);
      }
      const text = ` (${age(time)})`;
      if (ago.textContent !== text) ago.textContent = text;
    }
  }

  // Whoever has marked a text, to copy it, keeps it until it is marked no more.
  const busy = () => {
    const marked = getSelection();
    return !marked.isCollapsed && find('main').contains(marked.anchorNode);
  };

  function draw() {
    if (!next || busy()) return;
    const main = find('main', next), link = document.activeElement?.getAttribute('href');
    for (const part of ['title', '#as-of', 'footer']) {
      const [old, now] = [find(part), find(part, next)];
      if (old && now) old.replaceWith(now);
    }
    find('link[rel=icon]').href = find('link[rel=icon]', next).href;
    if (main.innerHTML !== shown) {
      shown = main.innerHTML;
      const said = find('h1', main).textContent;
      if (said !== headline) find('#said').textContent = headline = said;
      find('main').replaceWith(main);
      if (link) find(`main a[href="${CSS.escape(link)}"]`)?.focus({ preventScroll: true });
    }
    next = null;
    tellAges();
  }

  async function load() {
    due = 0;
    if (loading) return soon();
    loading = true;
    try {
      const answer = await fetch('/', { cache: 'no-store', headers: tag ? { 'If-None-Match': tag } : {} });
      if (answer.status !== 304) {
        const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
        if (!find('main', page)) throw new Error('no page');
        if (program(page) !== program(document)) return location.reload();
        tag = answer.headers.get('etag');
        next = page;
        draw();
      }
      here();
    } catch {
      away();
    } finally {
      loading = false;
    }
  }

  function soon() {
    due ||= setTimeout(load, QUIET_MS);
  }

  function say(text, name) {
    live.textContent = text;
    live.className = name;
  }

  // The sled answers. A stream that is just coming back is not worth a word.
  function here() {
    clearTimeout(lost);
    lost = 0;
    if (stream.readyState === EventSource.OPEN) say('live', '');
    if (stream.readyState === EventSource.CLOSED) say(`asked every ${RETRY_MS / 1000} s`, '');
  }

  function away() {
    const since = new Date().toISOString().slice(11, 19);
    const tell = () => say(`no connection to the sled since ${since} UTC: this is how it was then`, 'away');
    lost ||= setTimeout(tell, GRACE_MS);
    again();
  }

  function again() {
    retry ||= setTimeout(() => { retry = 0; follow(); load(); }, RETRY_MS);
  }

  function follow() {
    if (stream && stream.readyState !== EventSource.CLOSED) return;
    stream = new EventSource('/v1/events');
    stream.onopen = () => { here(); soon(); };
    stream.onmessage = soon;
    stream.addEventListener('lagged', soon);
    stream.onerror = () => { soon(); again(); };
  }

  tellAges();
  setInterval(tellAges, AGES_MS);
  document.addEventListener('selectionchange', draw);
  document.addEventListener('visibilitychange', () => { if (!document.hidden) { follow(); soon(); } });
  follow();
})();
