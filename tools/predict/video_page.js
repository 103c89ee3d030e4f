'use strict';
const $ = id => document.getElementById(id), all = selector => [...document.querySelectorAll(selector)];
const made = (tag, values) => Object.assign(document.createElement(tag), values);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
const shares = text => Float32Array.from(new Uint16Array(bytes(text).buffer), value => value / 65535);
const clock = time => new Date(1000 * Math.floor(time)).toISOString().slice(time < 3600 ? 14 : 11, 19).replace(/^0/, '');
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);

const data = JSON.parse($('data').textContent), {events, seconds} = data;
const video = $('video'), timeline = $('timeline'), slider = $('slider'), axis = $('axis');
const isolated = name => `\u2068${name}\u2069`;  // of letters from right to left, too
const now = () => clamp(target ?? video.currentTime, 0, seconds);
const during = (some, second) => some.find(event => event.start <= second && second < event.end);
const view = {start: 0, end: seconds};  // the part of the time that is shown
let shown = null;  // the second that is shown
let target = null, watch = null;  // the time to which the video is on its way, the timer that watches over it

// ------------------------------------------------------------ lanes: what they say of a second, and how they look

const kinds = {
  truth: () => {
    const say = second => during(data.truth, second)?.name || 'background';
    return {label: 'truth', say, paint: (...at) => paintBars(data.truth, colour('grey'), ...at)};
  },
  events: () => ({say: second => inWords(during(events, second)), paint: (...at) => paintBars(events, colour('event'), ...at)}),
  probability: () => {
    const values = shares(data.probability);
    return {label: 'event probability', say: second => values[second].toFixed(2), paint: (...at) => paintLevels(values, ...at)};
  },
  class: ({name, values: text}) => {
    const values = shares(text);
    return {label: name, say: second => values[second].toFixed(2), paint: (...at) => paintShades(values, ...at)};
  },
  loudness: () => ({label: 'sound', say: loudnessInWords, paint: paintLoudness}),
  gates: () => {
    const gates = data.gates.map(({name, values}) => ({name, values: shares(values)}));
    const say = second => gates.map(({name, values}) => `${name} ${values[second].toFixed(2)}`).join(', ');
    return {say, paint: (...at) => paintGates(gates, ...at)};
  },
};
const loudness = data.loudness && bytes(data.loudness);
const lanes = all('.lane').map(element => {
  const plot = element.querySelector('.plot'), {kind, index} = element.dataset;
  return {...kinds[kind](data.classes[index]), plot, canvas: plot.firstElementChild, value: element.querySelector('.value')};
});

function inWords(event) {
  if (!event) return 'no event';
  return `${isolated(event.name)}, ${clock(event.start)} to ${clock(event.end)}, probability ${event.probability.toFixed(2)}`;
}

function loudnessInWords(second) {
  const level = loudness ? Math.max(...loudness.subarray(second * data.rate, (second + 1) * data.rate)) : 0;
  return level ? `${Math.round(60 * (1 - level / 255))} dB below the loudest` : 'silent';
}

// A name is in its bar; where that is too short, beside it; where there is no room either, cut.
function paintBars(some, fill, context, width, height) {
  const dot = devicePixelRatio, place = time => (time - view.start) / (view.end - view.start) * width;
  context.font = `${14 * dot}px ${getComputedStyle(document.body).fontFamily}`;
  context.textBaseline = 'middle';
  some.forEach(({name, start, end}, k) => {
    const left = Math.max(0, place(start)), right = Math.min(width, place(end)), size = right - left;
    if (size <= 0) return;
    context.fillStyle = fill;
    context.beginPath();
    context.roundRect(left, 0, Math.max(dot, size - dot), height, Math.min(3 * dot, size / 2));
    context.fill();
    const room = context.measureText(name).width + 12 * dot;
    const beside = room > size && room < (k + 1 < some.length ? place(some[k + 1].start) : width) - right;
    const text = room <= size || beside ? name : `${name.slice(0, size / room * name.length - 2)}…`;
    context.fillStyle = beside ? colour('ink') : '#fff';
    if (text === name || size > 40 * dot) context.fillText(text, (beside ? right : left) + 6 * dot, height / 2);
  });
}

// Calls paint(x, value) for each column of pixels, with the largest value in it: where an hour is shown, no second is lost.
function columns(values, rate, width, paint) {
  const first = view.start * rate, each = (view.end - view.start) * rate / width;
  for (let x = 0; x < width; x++) {
    let k = Math.floor(first + x * each), most = values[k];
    while (++k < first + (x + 1) * each) most = Math.max(most, values[k]);
    paint(x, most);
  }
}

function paintLevels(values, context, width, height) {
  const above = colour('event'), below = colour('below'), dash = 5 * devicePixelRatio, top = height * (1 - data.threshold);
  columns(values, 1, width, (x, value) => {
    context.fillStyle = value > data.threshold ? above : below;
    context.fillRect(x, height * (1 - value), 1, height * value);
  });
  context.fillStyle = '#fffc';
  context.fillRect(0, top - dash / 2.5, width, dash / 1.25);
  context.fillStyle = colour('limit');
  for (let x = 0; x < width; x += 2 * dash) context.fillRect(x, top - dash / 5, dash, dash / 2.5);
}

function paintShades(values, context, width, height) {
  context.fillStyle = colour('event');
  columns(values, 1, width, (x, value) => {
    context.globalAlpha = value;
    context.fillRect(x, 0, 1, height);
  });
}

function paintLoudness(context, width, height) {
  context.fillStyle = colour('grey');
  columns(loudness || new Uint8Array(seconds * data.rate), data.rate, width, (x, value) => {
    const size = Math.max(devicePixelRatio, height * value / 255);
    context.fillRect(x, (height - size) / 2, 1, size);
  });
}

function paintGates(gates, context, width, height) {
  context.lineWidth = 2 * devicePixelRatio;
  gates.forEach(({values}, k) => {
    context.strokeStyle = colour(`gate-${k}`);
    context.setLineDash([[], [8, 5], [2, 3]][k].map(length => length * devicePixelRatio));
    context.beginPath();
    columns(values, 1, width, (x, value) => context.lineTo(x, height * (0.98 - 0.96 * value)));
    context.stroke();
  });
}

function draw() {
  const span = view.end - view.start, width = axis.clientWidth, place = time => (time - view.start) / span * width;
  const step = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].find(each => each / span * width >= 64) || 7200;
  axis.replaceChildren();
  for (let time = Math.ceil(view.start / step) * step; time < view.end; time += step) {
    const tick = made('span', {textContent: clock(time)});
    tick.style.left = `${place(time)}px`;
    axis.append(tick);
  }
  for (const {canvas, paint} of lanes) {
    if (!canvas.clientWidth) continue;  // folded away
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    paint(canvas.getContext('2d'), canvas.width, canvas.height);
  }
  $('out').disabled = $('whole').disabled = span >= seconds;
  update();
}

// ------------------------------------------------------------ time

function update() {
  const time = now(), second = Math.min(Math.floor(time), seconds - 1);
  timeline.style.setProperty('--at', `${100 * (time - view.start) / (view.end - view.start)}%`);
  if (second === shown) return;
  shown = second;
  const event = during(events, second);
  $('clock').textContent = `${clock(second)} / ${clock(seconds)}`;
  $('now').textContent = event ? `${isolated(event.name)} ${event.probability.toFixed(2)}` : 'no event';
  $('now').classList.toggle('event', Boolean(event));
  slider.setAttribute('aria-valuenow', second);
  slider.setAttribute('aria-valuetext', `${clock(second)}, ${$('now').textContent}`);
  all('#list button').forEach((button, k) => {
    button.setAttribute('aria-current', events[k] === event);
    if (events[k] === event) button.closest('ol').scrollTop = button.offsetTop - button.offsetHeight;
  });
  for (const {value, say} of lanes) if (value) value.textContent = say(second);
  look();
}

function follow() {
  const span = view.end - view.start, time = now();
  if (time < view.start || time > view.end) show(time - span / 10, span);
  update();
  if (!video.paused) requestAnimationFrame(follow);
}

// One seek at a time, of several the last, so that a drag shows pictures.
function seek(time) {
  target = clamp(time, 0, (video.duration || seconds) - 0.01);
  if (!video.seeking) go();
  if (video.paused) follow();
}

function go() {
  video.currentTime = target;
  clearTimeout(watch);
  watch = setTimeout(() => { if (video.seeking) go(); }, 2000);  // Chromium may hang where it plays during a seek
}

video.onseeked = () => {
  if (target !== null && Math.abs(target - video.currentTime) > 0.001) go();
  else target = null;
  update();
};

function jump(direction) {
  const event = direction > 0 ? events.find(event => event.start > now() + 0.05)
    : events.findLast(event => event.start < now() - 0.5);
  if (event) seek(event.start);
}

// Shows another part of the time. Says whether that is another one.
function show(start, span) {
  const before = {...view};
  span = clamp(span, Math.min(seconds, 5), seconds);
  view.start = clamp(start, 0, seconds - span);
  view.end = view.start + span;
  draw();
  return before.start !== view.start || before.end !== view.end;
}

function zoom(factor, time = clamp(now(), view.start, view.end)) {
  const span = view.end - view.start, after = clamp(factor * span, Math.min(seconds, 5), seconds);
  return show(time - (time - view.start) * after / span, after);
}

// ------------------------------------------------------------ mouse, fingers, keys

const across = x => (x - axis.getBoundingClientRect().left) / axis.clientWidth;
const timeAt = x => view.start + across(x) * (view.end - view.start);
const onLane = event => event.target.closest('.plot, #axis');
const fingers = new Map();  // where they touch the timeline; the mouse's button is one
let press = null;  // the last touch: where it began, whether it moved

timeline.onpointerdown = event => {
  if (event.button || !onLane(event)) return;
  fingers.set(event.pointerId, event.clientX);
  press = {x: event.clientX, moved: fingers.size > 1};
};
onpointermove = event => {
  tell(event);
  if (!fingers.has(event.pointerId)) return;
  const [a, b] = fingers.values();
  press.moved ||= Math.abs(event.clientX - press.x) > 4;
  fingers.set(event.pointerId, event.clientX);
  if (b !== undefined) {  // the time between two fingers stays there
    const [c, d] = fingers.values(), time = timeAt((a + b) / 2);
    zoom(Math.abs(a - b) / Math.max(20, Math.abs(c - d)), time);
    show(time - across((c + d) / 2) * (view.end - view.start), view.end - view.start);
  } else if (press.moved) seek(timeAt(event.clientX));
};
onpointerup = event => {
  if (!fingers.delete(event.pointerId) || press.moved) return;
  const time = timeAt(event.clientX), bar = event.target.closest('.events') && during(events, time);
  seek(bar ? bar.start : time);
};
onpointercancel = event => fingers.delete(event.pointerId);
timeline.ondblclick = event => onLane(event) && show(0, seconds);
timeline.addEventListener('wheel', event => {
  if (!onLane(event)) return;
  const span = view.end - view.start, sideways = event.deltaX || (event.shiftKey && event.deltaY);
  const changed = sideways ? show(view.start + sideways / axis.clientWidth * span, span)
    : zoom(1.003 ** event.deltaY, timeAt(event.clientX));
  if (changed) event.preventDefault();
}, {passive: false});

function tell(event) {
  const lane = lanes.find(lane => lane.plot.contains(event.target)), tip = $('tip');
  tip.hidden = !lane || event.pointerType === 'touch';
  if (tip.hidden) return;
  const second = clamp(Math.floor(timeAt(event.clientX)), 0, seconds - 1);
  tip.textContent = `${clock(second)}  ${lane.label ? `${isolated(lane.label)}: ` : ''}${lane.say(second)}`;
  tip.style.left = `${clamp(event.clientX + 12, 4, innerWidth - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 10)}px`;
}

const by = step => () => seek(now() + step);
const keys = {
  ' ': () => $('play').click(), n: () => jump(1), p: () => jump(-1), ArrowLeft: by(-1), ArrowRight: by(1),
  '+': () => zoom(0.5), '-': () => zoom(2), 0: () => show(0, seconds),
  c: () => $('subtitles').click(), m: () => $('mute').click(), f: () => $('full').click(),
};
const sliderKeys = {
  ArrowDown: by(-1), ArrowUp: by(1), PageDown: by(-10), PageUp: by(10), Home: () => seek(0), End: () => seek(seconds),
};
onkeydown = event => {
  const control = event.target.closest('button, summary, input');
  const action = keys[event.key] || keys[event.key.toLowerCase()] || (event.target === slider && sliderKeys[event.key]);
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  if (control && (event.key === ' ' || (control.type === 'radio' && event.key.startsWith('Arrow')))) return;
  event.preventDefault();
  action();
};

// ------------------------------------------------------------ picture, attention, subtitles, buttons

const colours = bytes(data.colours), maps = {};
for (const name in data.attention) maps[name] = bytes(data.attention[name].values);

function look() {
  const name = document.querySelector('[name=look]:checked')?.value, canvas = $('attention');
  $('stage').classList.toggle('looked', Boolean(name));
  if (!name) return;
  const {width, height} = data.attention[name], size = width * height, image = new ImageData(width, height);
  maps[name].subarray(shown * size, (shown + 1) * size).forEach((value, k) =>
    image.data.set([...colours.subarray(3 * value, 3 * value + 3), 255], 4 * k));
  Object.assign(canvas, {width, height});
  canvas.getContext('2d').putImageData(image, 0, 0);
}

const subtitles = video.addTextTrack('subtitles', 'events');
subtitles.mode = 'hidden';
for (const {name, start, end, probability} of events) {
  const text = name.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  subtitles.addCue(new VTTCue(start, end, `${isolated(text)} ${probability.toFixed(2)}`));
}
video.onplay = video.onpause = () => {
  $('play').setAttribute('aria-label', video.paused ? 'Play' : 'Pause');
  follow();
};
video.ontimeupdate = update;
video.onloadedmetadata = () => $('stage').style.setProperty('--ratio', video.videoWidth / video.videoHeight);
video.onerror = () => { $('missing').hidden = false; };
video.onclick = $('play').onclick = () => video.paused ? video.play().catch(() => {}) : video.pause();  // onerror tells
$('previous').onclick = () => jump(-1);
$('next').onclick = () => jump(1);
$('mute').onclick = () => $('mute').setAttribute('aria-pressed', video.muted = !video.muted);
$('subtitles').onclick = () => {
  subtitles.mode = subtitles.mode === 'hidden' ? 'showing' : 'hidden';
  $('subtitles').setAttribute('aria-pressed', subtitles.mode === 'showing');
};
$('full').onclick = () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($('player').requestFullscreen) $('player').requestFullscreen();
  else video.webkitEnterFullscreen();  // iPhones show the video alone
};
$('in').onclick = keys['+'];
$('out').onclick = keys['-'];
$('whole').onclick = keys[0];
all('#list button').forEach((button, k) => { button.onclick = () => seek(events[k].start); });
all('[name=look]').forEach(input => { input.onchange = look; });
all('details').forEach(element => { element.ontoggle = draw; });

if ($('embedded')) {
  const text = $('embedded').textContent, parts = [], size = 1 << 20;
  for (let k = 0; k < text.length; k += size) parts.push(bytes(text.slice(k, k + size)));
  video.src = URL.createObjectURL(new Blob(parts, {type: 'video/mp4'}));
}
if (video.readyState) video.onloadedmetadata();  // these may have come before this script
if (video.error) video.onerror();
video.controls = false;
$('controls').hidden = timeline.hidden = false;
new ResizeObserver(draw).observe(timeline);
