// <dualdub-player src="…/player.json">: a film with its speech and background tracks on one time axis.
//
// The pictures, and the mix of the take in use, come from one <video>. Stems, and mixes of other takes, are
// <audio> elements that follow its clock; all play at once, and muting chooses what is audible.
//
// Events, which bubble: "region" {start, end} when a region is selected (null: none), "choose" {take}.

const TICK_STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200];
const NAMES = { speech: "Speech", background: "Background", original: "Own sound" };
const FOLLOW_EVERY_MS = 200;
const SEEK_BEYOND_S = 0.25; // a track that is off by more is sought, by less is played faster or slower
const IN_TIME_S = 0.02;
const LEAST_REGION_S = 0.05;

// The region outlives the element: the page makes a new one when a take is made or chosen.
let kept = { film: null, region: null };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = (seconds - 60 * minutes).toFixed(2).padStart(5, "0");
  return `${minutes}:${rest}`;
}

function spoken(word) {
  return word.speaker ? `${word.speaker}: ${word.text}` : word.text;
}

class DualDubPlayer extends HTMLElement {
  static observedAttributes = ["src"];

  connectedCallback() {
    this.load();
  }

  disconnectedCallback() {
    this.pause();
    clearInterval(this.following);
  }

  attributeChangedCallback() {
    if (this.isConnected) this.load();
  }

  async load() {
    const source = new URL(this.getAttribute("src"), document.baseURI);
    if (this.source === source.href) return;
    this.source = source.href;
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const answer = await fetch(source);
    if (this.source !== source.href) return; // another one by now
    if (!answer.ok) {
      root.replaceChildren(element("p", {}, "This film is not kept any more; generate it again."));
      return;
    }
    this.data = await answer.json();
    this.takes = this.data.takes;
    this.stems = Object.keys(this.takes[0].tracks).filter((name) => name !== "mix");
    this.region = null;
    this.muted = new Set();
    this.soloed = new Set();
    const style = element("link", { rel: "stylesheet", href: new URL("web/player.css", document.baseURI) });
    await new Promise((resolve) => {
      style.onload = style.onerror = resolve;
      root.replaceChildren(style, this.makePlayer());
    });
    this.listen(this.takes.find((take) => take.is_chosen) ?? this.takes[0]);
    const film = this.url(".");
    if (kept.film === film) this.setRegion(kept.region?.start, kept.region?.end);
    else {
      kept = { film, region: null };
      this.select(null);
    }
    clearInterval(this.following);
    this.following = setInterval(() => this.follow(), FOLLOW_EVERY_MS);
    this.drawHead();
  }

  url(name) {
    return new URL(name, this.source).href;
  }

  // ---- structure

  makePlayer() {
    const { data } = this;
    this.video = element("video", {
      src: this.url(data.picture), playsinline: true, preload: "auto", "aria-label": `Film ${data.title}`,
      onclick: () => this.toggle(), onended: () => this.pause(), onpause: () => this.pauseOthers(),
      onplay: () => this.playOthers(), onseeked: () => this.follow(true),
    });
    this.sounds = Object.fromEntries(["mix", ...this.stems].map((name) => [name, element("audio", { preload: "auto" })]));
    this.playButton = element("button", { class: "play", onclick: () => this.toggle() }, "Play");
    this.time = element("output", { class: "time" });
    this.hearing = element("span", { class: "hearing", role: "status" });
    this.loop = element("input", { type: "checkbox" });
    const bar = element(
      "div", { class: "bar" },
      this.playButton, this.time,
      element("label", { class: "loop" }, this.loop, "Loop"),
      element("button", { onclick: () => this.mark("start"), title: "Begin the region at the present position" }, "Region from here"),
      element("button", { onclick: () => this.mark("end"), title: "End the region at the present position" }, "to here"),
      this.clearButton = element("button", { onclick: () => this.select(null), disabled: true }, "Clear"),
      this.hearing,
    );
    return element(
      "div", { class: "player" },
      element("div", { class: "stage" }, this.video), ...Object.values(this.sounds), bar,
      this.makeTakes(), this.makeLanes(), this.makeWords(),
    );
  }

  makeTakes() {
    this.takeRows = new Map();
    if (this.takes.length < 2) return element("span", { hidden: true });
    const rows = this.takes.map((take) => {
      const listen = element("button", { class: "listen", onclick: () => this.listen(take, true) }, "Listen");
      const use = element(
        "button", { class: "use", disabled: take.is_chosen, onclick: () => this.choose(take) },
        take.is_chosen ? "In use" : "Use this",
      );
      const wave = element("div", { class: "wave" });
      wave.innerHTML = take.tracks.mix.wave ?? "";
      if (take.region_s) wave.append(this.span("changed", ...take.region_s));
      const row = element(
        "li", {},
        element("div", { class: "name" }, element("b", {}, take.label), element("small", {}, take.detail ?? "")),
        wave, element("div", { class: "actions" }, listen, use),
      );
      this.takeRows.set(take.id, { row, listen });
      return row;
    });
    return element("ul", { class: "takes", "aria-label": "Takes" }, ...rows);
  }

  makeLanes() {
    const { data } = this;
    const strip = element("div", { class: "row strip" });
    strip.append(...data.strip.map((src) => element("img", { src, alt: "" })));
    const words = element("div", { class: "row words" });
    for (const word of data.words) {
      const box = this.span("word", word.start_s, word.end_s);
      box.append(spoken(word));
      box.title = spoken(word);
      if (word.warning) box.classList.add("bad");
      words.append(box);
    }
    if (!data.words.length) words.append(element("span", { class: "silent" }, "no speech"));
    const lanes = [
      element("div", { class: "label" }, "Film"), strip,
      element("div", { class: "label" }, "Script"), words,
    ];
    this.pictures = {};
    this.switches = {};
    for (const name of this.stems) {
      const wave = element("div", { class: `row wave ${name}` });
      const mel = element("div", { class: "row mel" });
      this.pictures[name] = { wave, mel };
      const mute = this.makeSwitch(name, this.muted, "M", "Mute");
      const solo = this.makeSwitch(name, this.soloed, "S", "Solo");
      this.switches[name] = [mute, solo];
      lanes.push(element("div", { class: `label ${name}` }, element("b", {}, NAMES[name]), mute, solo), wave,
                 element("div", { class: "label mels" }), mel);
    }
    const axis = element("div", { class: "row axis" });
    const step = TICK_STEPS_S.find((s) => data.duration_s / s <= 8) ?? 1200;
    for (let i = 0; i * step < 0.97 * data.duration_s; i += 1) {
      const tick = element("span", {}, `${(i * step).toFixed(step < 1 ? 1 : 0)} s`);
      tick.style.left = `${(100 * i * step) / data.duration_s}%`;
      axis.append(tick);
    }
    lanes.push(element("div", { class: "label" }), axis);
    this.head = element("div", { class: "head" });
    this.shade = element("div", { class: "region", hidden: true });
    this.surface = element("div", {
      class: "surface", tabindex: 0, role: "slider", "aria-label": "Position in the film; drag to select a region",
      "aria-valuemin": 0, "aria-valuemax": data.duration_s.toFixed(2),
      onpointerdown: (event) => this.press(event), onkeydown: (event) => this.key(event),
    }, this.shade, this.head);
    return element("div", { class: "lanes" }, ...lanes, this.surface);
  }

  makeSwitch(name, set, letter, what) {
    const button = element("button", { "aria-label": `${what} ${NAMES[name]}`, title: `${what} ${NAMES[name]}`, "aria-pressed": "false" }, letter);
    button.addEventListener("click", () => {
      if (!set.delete(name)) set.add(name);
      button.setAttribute("aria-pressed", String(set.has(name)));
      this.applyMutes();
    });
    return button;
  }

  makeWords() {
    const { words } = this.data;
    if (!words.length) return element("span", { hidden: true });
    const isRecognised = words.some((word) => word.recognised != null);
    const cells = isRecognised ? ["Time", "Script", "Recognised", ""] : ["Time", "Script", ""];
    const rows = words.map((word) => {
      const time = element(
        "button", { onclick: () => this.pick(word), title: "Select this stretch" },
        `${clock(word.start_s)} – ${clock(word.end_s)}`,
      );
      return element(
        "tr", { class: word.warning ? "bad" : "" },
        element("td", {}, time), element("td", {}, spoken(word)),
        ...(isRecognised ? [element("td", { class: "recognised" }, word.recognised === "" ? "nothing" : word.recognised ?? "not checked")] : []),
        element("td", {}, word.warning ?? "in time"),
      );
    });
    return element(
      "div", { class: "cues" },
      element("table", {}, element("thead", {}, element("tr", {}, ...cells.map((name) => element("th", { scope: "col" }, name)))),
              element("tbody", {}, ...rows)),
    );
  }

  span(kind, start, end) {
    const box = element("span", { class: kind });
    box.style.left = `${(100 * start) / this.data.duration_s}%`;
    box.style.width = `${(100 * (end - start)) / this.data.duration_s}%`;
    return box;
  }

  // ---- sound

  listen(take, play = false) {
    this.take = take;
    for (const name of ["mix", ...this.stems]) {
      const source = this.url(take.tracks[name].sound);
      if (this.sounds[name].src !== source) this.sounds[name].src = source;
    }
    for (const name of this.stems) {
      const { wave, mel } = this.pictures[name];
      const { wave: svg, spectrogram } = take.tracks[name];
      wave.innerHTML = svg ?? "";
      if (!svg) wave.append(element("span", { class: "silent" }, "silent: every sample is zero"));
      mel.replaceChildren(...(spectrogram ? [element("img", { src: spectrogram, alt: `Spectrogram, ${NAMES[name]}` })] : []));
      mel.classList.toggle("empty", !spectrogram);
    }
    for (const [id, { row, listen }] of this.takeRows) {
      row.classList.toggle("heard", id === take.id);
      listen.setAttribute("aria-pressed", String(id === take.id));
    }
    this.applyMutes();
    this.follow(true);
    if (play) {
      const region = this.region ?? (take.region_s && { start: take.region_s[0], end: take.region_s[1] });
      if (region && this.video.paused) this.video.currentTime = Math.max(0, region.start - 0.5);
      this.play();
    }
  }

  applyMutes() {
    const isOn = (name) => (this.soloed.size ? this.soloed.has(name) : !this.muted.has(name));
    const on = this.stems.filter(isOn);
    const isMix = on.length === this.stems.length;
    const fromVideo = isMix && this.data.picture_has_mix && this.take.is_chosen;
    this.video.muted = !fromVideo;
    this.sounds.mix.muted = !isMix || fromVideo;
    for (const name of this.stems) this.sounds[name].muted = isMix || !on.includes(name);
    const what = isMix ? "mix" : on.map((name) => NAMES[name].toLowerCase()).join(", ") || "nothing";
    this.hearing.textContent = `Playing: ${this.takes.length > 1 ? `${this.take.label}, ` : ""}${what}`;
  }

  follow(seek = false) {
    if (!this.video) return;
    for (const sound of Object.values(this.sounds)) {
      const late = this.video.currentTime - sound.currentTime;
      if ((seek && Math.abs(late) > IN_TIME_S) || Math.abs(late) > SEEK_BEYOND_S) {
        if (this.video.currentTime < (sound.duration || Infinity)) sound.currentTime = this.video.currentTime;
        sound.playbackRate = 1;
      } else {
        sound.playbackRate = Math.abs(late) > IN_TIME_S ? 1 + Math.sign(late) * 0.03 : 1;
      }
      if (!this.video.paused && sound.paused && !sound.ended) sound.play().catch(() => {});
    }
  }

  toggle() {
    if (this.video.paused) this.play();
    else this.pause();
  }

  play() {
    if (this.loop.checked && this.region && !this.isInside(this.video.currentTime)) {
      this.video.currentTime = this.region.start;
    }
    this.video.play();
  }

  pause() {
    this.video?.pause();
    this.pauseOthers();
  }

  playOthers() {
    this.playButton.textContent = "Pause";
    this.follow(true);
  }

  pauseOthers() {
    if (this.playButton) this.playButton.textContent = "Play";
    for (const sound of Object.values(this.sounds ?? {})) sound.pause();
  }

  isInside(time) {
    return time >= this.region.start - 0.01 && time < this.region.end;
  }

  drawHead() {
    if (!this.isConnected) return;
    const time = Math.min(this.video.currentTime, this.data.duration_s);
    if (this.loop.checked && !this.video.paused) {
      const { start, end } = this.region ?? { start: 0, end: this.data.duration_s - 0.03 };
      if (time >= end) this.video.currentTime = start;
    }
    this.head.style.left = `${(100 * time) / this.data.duration_s}%`;
    this.surface.setAttribute("aria-valuenow", time.toFixed(2));
    this.surface.setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
    this.time.textContent = `${clock(time)} / ${clock(this.data.duration_s)}`;
    requestAnimationFrame(() => this.drawHead());
  }

  // ---- regions and takes

  press(event) {
    if (event.button) return;
    const box = this.surface.getBoundingClientRect();
    const timeAt = (x) => (this.data.duration_s * Math.min(1, Math.max(0, (x - box.left) / box.width)));
    const first = event.clientX;
    let isDragged = false;
    const move = (moved) => {
      isDragged ||= Math.abs(moved.clientX - first) > 5;
      if (isDragged) this.show(timeAt(Math.min(first, moved.clientX)), timeAt(Math.max(first, moved.clientX)));
    };
    const stop = (last) => {
      this.surface.removeEventListener("pointermove", move);
      this.surface.removeEventListener("pointerup", stop);
      this.surface.removeEventListener("pointercancel", stop);
      if (last.type === "pointercancel") this.draw();
      else if (isDragged) this.select({ start: timeAt(Math.min(first, last.clientX)), end: timeAt(Math.max(first, last.clientX)) });
      else this.video.currentTime = timeAt(first);
    };
    this.surface.setPointerCapture(event.pointerId);
    this.surface.addEventListener("pointermove", move);
    this.surface.addEventListener("pointerup", stop);
    this.surface.addEventListener("pointercancel", stop);
  }

  key(event) {
    const step = event.shiftKey ? 1 : 0.1;
    const moves = { ArrowLeft: -step, ArrowRight: step, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      const time = this.video.currentTime + moves[event.key];
      this.video.currentTime = Math.min(this.data.duration_s, Math.max(0, time));
    } else if (event.key === " " || event.key === "Enter") this.toggle();
    else return;
    event.preventDefault();
  }

  mark(side) {
    const time = this.video.currentTime;
    const { start, end } = this.region ?? { start: 0, end: this.data.duration_s };
    if (side === "start") this.select({ start: time, end: end > time ? end : this.data.duration_s });
    else this.select({ start: start < time ? start : 0, end: time });
  }

  pick(word) {
    this.select({ start: word.start_s, end: word.end_s });
    this.video.currentTime = word.start_s;
  }

  select(region) {
    this.setRegion(region?.start, region?.end);
    this.dispatchEvent(new CustomEvent("region", { detail: this.region, bubbles: true, composed: true }));
  }

  setRegion(start, end) {
    if (!this.data) return;
    const isGiven = Number.isFinite(start) && Number.isFinite(end) && end - start >= LEAST_REGION_S;
    const round = (time) => Math.round(100 * Math.min(this.data.duration_s, Math.max(0, time))) / 100;
    this.region = isGiven ? { start: round(start), end: round(end) } : null;
    kept.region = this.region;
    this.draw();
  }

  draw() {
    this.clearButton.disabled = !this.region;
    this.shade.hidden = !this.region;
    if (this.region) this.show(this.region.start, this.region.end);
  }

  show(start, end) {
    this.shade.hidden = false;
    this.shade.style.left = `${(100 * start) / this.data.duration_s}%`;
    this.shade.style.width = `${(100 * (end - start)) / this.data.duration_s}%`;
  }

  choose(take) {
    this.pause();
    this.dispatchEvent(new CustomEvent("choose", { detail: { take: take.id }, bubbles: true, composed: true }));
  }
}

customElements.define("dualdub-player", DualDubPlayer);
