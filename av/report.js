"use strict";
(function () {
  const errors = [];
  const body = document.body;
  const media = document.querySelector("video,audio");
  const line = document.querySelector(".timeline");
  addEventListener("error", e => { errors.push(String(e.message || "resource")); tell(); }, true);

  if (line) {
    const end = Number(line.dataset.end);
    const head = line.querySelector(".playhead");
    const plot = line.querySelector(".plot");
    const place = t => {
      const width = plot.getBoundingClientRect().width;
      head.style.left = plot.offsetLeft + (end > 0 ? Math.min(t / end, 1) * width : 0) + "px";
      line.setAttribute("aria-valuenow", t.toFixed(3));
    };
    let now = 0;
    const go = t => {
      now = Math.min(Math.max(t, 0), end);
      if (media) media.currentTime = now;
      place(now);
    };
    const follow = () => {
      if (media && !media.paused) { now = media.currentTime; place(now); requestAnimationFrame(follow); }
    };
    if (media) {
      media.addEventListener("play", () => requestAnimationFrame(follow));
      ["timeupdate", "seeked"].forEach(e => media.addEventListener(e, () => { now = media.currentTime; place(now); }));
    }
    line.addEventListener("click", e => {
      const box = plot.getBoundingClientRect();
      if (e.clientX >= box.left) go((e.clientX - box.left) / box.width * end);
    });
    line.addEventListener("keydown", e => {
      const step = { ArrowRight: 0.04, ArrowLeft: -0.04, PageUp: 1, PageDown: -1 }[e.key];
      if (step) { go(now + step); e.preventDefault(); }
      if (e.key === " " && media) { media.paused ? media.play() : media.pause(); e.preventDefault(); }
    });
    addEventListener("resize", () => place(now));
    place(0);
  }

  document.querySelectorAll("table.sortable").forEach(table => {
    table.querySelectorAll("th").forEach((th, column) => {
      th.querySelector("button").addEventListener("click", () => {
        const up = th.getAttribute("aria-sort") !== "ascending";
        table.querySelectorAll("th").forEach(x => x.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = row => { const c = row.cells[column]; return c.dataset.v === undefined ? c.textContent : c.dataset.v; };
        const number = th.classList.contains("n");
        const rows = Array.from(table.tBodies[0].rows);
        rows.sort((a, b) => {
          const x = key(a), y = key(b);
          if (number && (x === "") !== (y === "")) return x === "" ? 1 : -1;
          return (number ? x - y : x.localeCompare(y, undefined, { numeric: true })) * (up ? 1 : -1);
        });
        rows.forEach(r => table.tBodies[0].append(r));
      });
    });
  });

  /* What loaded, for whoever tests the page. */
  function tell() {
    const images = Array.from(document.images);
    body.dataset.check = JSON.stringify({
      errors: errors,
      images: images.length,
      images_loaded: images.filter(i => i.complete && i.naturalWidth > 0).length,
      svgs: document.querySelectorAll("svg").length,
      media: media ? 1 : 0,
      media_ready: media && media.readyState >= 2 && !media.error ? 1 : 0,
      media_s: media && isFinite(media.duration) ? media.duration : 0
    });
  }
  addEventListener("load", tell);
  if (media) ["loadedmetadata", "canplay", "error"].forEach(e => media.addEventListener(e, tell));
  tell();
})();
