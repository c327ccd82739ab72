"use strict";
(() => {
  const POLL_MS = 5000;
  const LOST_AFTER_MS = 6000;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => within.querySelectorAll(selector);

  /* socket page: the button says what will be paid */
  const form = one(".prepay");
  if (form) {
    const own = one("#own-amount", form);
    const button = one("button[type=submit]", form);
    const asked = () => {
      const typed = Number(own.value.replace(",", "."));
      const chosen = one("input[name=amount]:checked", form);
      return own.value.trim() ? typed : chosen ? Number(chosen.value) : NaN;
    };
    const label = () => {
      const yuan = asked();
      button.textContent = Number.isFinite(yuan) && yuan > 0
        ? form.dataset.payLabel.replace("{amount}", yuan.toFixed(2)) : button.dataset.plain;
    };
    button.dataset.plain = button.textContent;
    own.addEventListener("input", () => {
      if (own.value.trim()) all("input[name=amount]", form).forEach((radio) => { radio.checked = false; });
      label();
    });
    form.addEventListener("change", (event) => {
      if (event.target.name === "amount") own.value = "";
      label();
    });
    form.addEventListener("submit", () => { button.disabled = true; });
    addEventListener("pageshow", () => { button.disabled = false; label(); });
    label();
  }

  /* session page */
  let source = null;
  let poll = 0;
  let lost = 0;
  let chart = null;
  let points = [[], []];

  const live = () => one(".live");
  const api = (tail = "") => `/api/rider/sessions/${live().dataset.session}${tail}`;
  const withLanguage = (path) => `${path}?lang=${live().dataset.lang}`;

  function hush() {
    if (source) source.close();
    source = null;
    clearInterval(poll);
    clearTimeout(lost);
    poll = lost = 0;
  }

  function linkLost(isLost) {
    clearTimeout(lost);
    lost = 0;
    const notice = one("[data-link-lost]");
    if (!notice) return;
    if (!isLost) notice.hidden = true;
    else lost = setTimeout(() => { notice.hidden = false; }, LOST_AFTER_MS);
  }

  function watch() {
    hush();
    if (!live() || "ended" in live().dataset || document.hidden) return;
    source = new EventSource(withLanguage(api("/live")));
    source.addEventListener("open", () => linkLost(false));
    source.addEventListener("session", (event) => { linkLost(false); show(JSON.parse(event.data)); });
    source.addEventListener("error", () => {
      if (!lost) linkLost(true);
      if (source && source.readyState === EventSource.CLOSED && !poll) poll = setInterval(look, POLL_MS);
    });
  }

  async function look() {
    try {
      const answer = await fetch(withLanguage(api()), { cache: "no-store" });
      if (answer.ok) { linkLost(false); show(await answer.json()); }
    } catch { if (!lost) linkLost(true); }
  }

  function show(state) {
    if (!live() || state.session_id !== live().dataset.session) return;
    const told = state.notices.map((notice) => notice.notice_id).join(",");
    if (state.phase !== live().dataset.phase || told !== live().dataset.notices) { renew(); return; }
    for (const place of all("[data-shown]")) {
      const text = state.shown[place.dataset.shown];
      if (text !== undefined && place.textContent !== text) place.textContent = text;
    }
    const arc = one("[data-arc]");
    if (arc) arc.setAttribute("stroke-dasharray", `${state.shown.spent_milli} 1000`);
    const electricity = one("[data-bar=electricity]");
    if (electricity) {
      const service = one("[data-bar=service]");
      electricity.setAttribute("width", state.shown.electricity_milli);
      service.setAttribute("x", state.shown.electricity_milli);
      service.setAttribute("width", state.shown.service_milli);
    }
    if (!chart && state.elapsed_s > 0) loadCurve();
    if (chart && state.elapsed_s > (points[0].at(-1) ?? -1)) {
      points[0].push(state.elapsed_s);
      points[1].push(state.power_w);
      if (points[0].length > 900) loadCurve(); else chart.setData(points);
    }
  }

  /* another phase has another page: fetch it and put it in place */
  let renewing = false;
  async function renew() {
    if (renewing) return;
    renewing = true;
    try {
      const answer = await fetch(withLanguage(location.pathname), { cache: "no-store" });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const said = one("[data-field=headline]")?.textContent;
      document.title = fresh.title;
      for (const place of [".head-body", "main"]) one(place).replaceChildren(...one(place, fresh).childNodes);
      const says = one("[data-field=headline]")?.textContent;
      if (says && says !== said) one("[data-announcement]").textContent = says;
      begin();
    } catch { /* still offline: the event stream or the poll tries again */ } finally { renewing = false; }
  }

  function stopForm() {
    const form = one("[data-stop]");
    const dialog = one("[data-stop-dialog]");
    if (!form || !dialog?.showModal) return;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.returnValue = "";
      dialog.showModal();
    });
    dialog.addEventListener("close", async () => {
      if (dialog.returnValue !== "stop") return;
      const button = one("button", form);
      button.disabled = true;
      try { await fetch(withLanguage(api("/stop")), { method: "POST" }); await renew(); } finally { button.disabled = false; }
    });
  }

  /* the start code's time; what it says at zero is the platform's word */
  let countdown = 0;
  function countDown() {
    clearInterval(countdown);
    const place = one("[data-left-s]");
    if (!place) return;
    const endMs = performance.now() + Number(place.dataset.leftS) * 1000;
    countdown = setInterval(() => {
      const left = Math.max(0, Math.round((endMs - performance.now()) / 1000));
      place.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
      if (!left) clearInterval(countdown);
    }, 1000);
  }

  /* the curve: the library comes only when there is something to draw */
  let library = null;
  let curveTimer = 0;
  function curveLater() {
    clearTimeout(curveTimer);
    curveTimer = setTimeout(loadCurve, POLL_MS);
  }
  function loadLibrary() {
    library ??= new Promise((resolve, reject) => {
      const style = document.createElement("link");
      style.rel = "stylesheet";
      style.href = live().dataset.chartStyle;
      const script = document.createElement("script");
      script.src = live().dataset.chartScript;
      script.onload = resolve;
      script.onerror = () => { library = null; reject(new Error("chart library")); };
      document.head.append(style, script);
    });
    return library;
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function clock(seconds) {
    const minutes = Math.floor(seconds / 60);
    return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}`;
  }

  let loadingCurve = false;
  async function loadCurve() {
    const place = one("[data-curve]");
    if (!place || loadingCurve) return;
    loadingCurve = true;
    try {
      const answer = await fetch(api("/curve?points=300"), { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const curve = await answer.json();
      points = [curve.points.map((point) => point.elapsed_s), curve.points.map((point) => point.power_w)];
      if (points[0].length < 2) {
        if (!("ended" in live().dataset)) curveLater();
        return;
      }
      await loadLibrary();
      if (place.isConnected) draw(place); else curveLater();
    } catch { curveLater(); } finally { loadingCurve = false; }
  }

  function draw(place) {
    chart?.destroy();
    place.replaceChildren();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false },
      font: "12px system-ui, sans-serif" };
    chart = new uPlot({
      width: place.clientWidth, height: place.clientHeight,
      legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, Math.max(20, most * 1.12)] } },
      axes: [
        { ...axis, grid: { show: false }, space: 64, size: 30, incrs: [60, 300, 600, 900, 1800, 3600, 7200, 10800],
          values: (_, ticks) => ticks.map(clock) },
        { ...axis, size: 44, space: 36 },
      ],
      series: [{}, { stroke: colour("--electricity"), width: 2, points: { show: false },
        fill: `color-mix(in srgb, ${colour("--electricity")} 14%, transparent)` }],
    }, points, place);
  }

  addEventListener("resize", () => {
    const place = one("[data-curve]");
    if (chart && place) chart.setSize({ width: place.clientWidth, height: place.clientHeight });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    if (chart) draw(one("[data-curve]"));
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) hush(); else if (live()) { look(); watch(); }
  });

  function begin() {
    clearTimeout(curveTimer);
    chart?.destroy();
    chart = null;
    if (!live()) return;
    stopForm();
    countDown();
    watch();
    loadCurve();
  }
  begin();
})();
