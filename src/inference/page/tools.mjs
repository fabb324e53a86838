// The tools that correct a mask: a box and clicks on the picture, by mouse, finger or keys, and the way back.

const $ = id => document.getElementById(id);
const hand = $('hand');
const KEYS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const STEP = 0.01; // of the picture, for an arrow key; ten times as much with Shift
const STILL = 6; // screen pixels that a hand may move and still mean one place
const WORDS = {
  compare: 'Drag the handle: your picture to its left, the result to its right.',
  box: 'Drag a box around the object, or click two opposite corners.',
  add: 'Click what is missing. Right-click what does not belong.',
  remove: 'Click what does not belong. Right-click what is missing.',
};
const BY_KEYS = 'Arrow keys move the cross, Enter sets it, Escape forgets a corner.';

let size = {width: 1, height: 1}, steps = [], corner = null, cross = [0.5, 0.5], told = () => {};

const tool = () => document.querySelector('input[name=tool]:checked').value;

/** Return {box, clicks} of all that was shown, in pixels of the picture; a new box takes the place of the old one. */
export function said() {
  return {box: steps.findLast(step => step.box)?.box ?? null, clicks: steps.flatMap(step => step.click ? [step.click] : [])};
}

/** Show the tools, or why there are none; `onChange` is called after each step. */
export function offerTools({taken, words}, onChange) {
  $('tools').hidden = !taken;
  $('about-tools').textContent = words;
  told = onChange;
}

/** Begin with a picture of which nothing was said yet. */
export function beginTools({width, height}) {
  size = {width, height};
  cross = [0.5, 0.5];
  change([]);
}

function change(to) {
  [steps, corner] = [to, null];
  $('undo').disabled = $('clear').disabled = !steps.length;
  if (document.activeElement?.disabled) document.querySelector('input[name=tool]:checked').focus(); // else the keyboard begins anew
  $('tool-words').textContent = WORDS[tool()];
  drawMarks();
}

function step(one) {
  change([...steps, one]);
  told();
}

/** A place was pointed at: a click, or a corner of a box. */
function pointAt([x, y], removes) {
  const at = [x * size.width, y * size.height];
  if (tool() !== 'box') step({click: [...at, (tool() === 'remove') !== removes ? -1 : 1]});
  else if (corner && isBox(corner, [x, y])) step({box: boxOf(corner, [x, y])});
  else {
    corner = [x, y];
    $('tool-words').textContent = 'Now the opposite corner.';
    drawMarks();
  }
}

function isBox(one, other) {
  const {width, height} = hand.getBoundingClientRect();
  return Math.abs(one[0] - other[0]) * width >= STILL && Math.abs(one[1] - other[1]) * height >= STILL;
}

function boxOf(one, other) {
  const [xs, ys] = [0, 1].map(axis => [one[axis], other[axis]].sort((a, b) => a - b));
  return [xs[0] * size.width, ys[0] * size.height, xs[1] * size.width, ys[1] * size.height];
}

/** Draw the box and the clicks; `open` is the box that is being drawn. */
function drawMarks(open = null) {
  const {box, clicks} = said(), shown = open ?? box;
  $('marks').replaceChildren(
    ...(shown ? [mark('box', shown[0], shown[1], shown[2] - shown[0], shown[3] - shown[1])] : []),
    ...clicks.map(([x, y, sign]) => mark(sign > 0 ? 'added' : 'removed', x, y)),
    ...(corner && !open ? [mark('corner', corner[0] * size.width, corner[1] * size.height)] : []),
    mark('cross', cross[0] * size.width, cross[1] * size.height));
}

function mark(kind, x, y, width, height) {
  const made = document.createElement('span');
  made.className = kind;
  Object.assign(made.style, {left: `${100 * x / size.width}%`, top: `${100 * y / size.height}%`});
  if (width) Object.assign(made.style, {width: `${100 * width / size.width}%`, height: `${100 * height / size.height}%`});
  return made;
}

/** Return where an event is, as shares of the picture. */
function placeOf({clientX, clientY}) {
  const {left, top, width, height} = hand.getBoundingClientRect();
  return [(clientX - left) / width, (clientY - top) / height].map(share => Math.min(1, Math.max(0, share)));
}

let pressed = null;
hand.onpointerdown = event => {
  if (event.button === 1 || !event.isPrimary) return;
  hand.setPointerCapture(event.pointerId);
  pressed = placeOf(event);
};
hand.onpointermove = event => {
  const at = placeOf(event), from = pressed && isBox(pressed, at) ? pressed : corner; // a drag is a box of its own
  if (tool() === 'box' && from && isBox(from, at)) drawMarks(boxOf(from, at));
};
hand.onpointerup = event => {
  if (!pressed) return;
  const at = placeOf(event), from = pressed;
  pressed = null;
  if (tool() === 'box') { if (isBox(from, at)) corner = from; pointAt(at, false); } else pointAt(from, event.button === 2 || event.shiftKey || event.altKey || event.ctrlKey);
};
hand.onpointercancel = () => { pressed = null; change(steps); };
hand.oncontextmenu = event => event.preventDefault();
hand.onkeydown = event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const move = KEYS[event.key];
  if (move) {
    const reach = event.shiftKey ? 10 * STEP : STEP;
    cross = cross.map((share, axis) => Math.min(1, Math.max(0, share + reach * move[axis])));
    $('tool-words').textContent = `The cross is ${cross.map(share => Math.round(100 * share)).join(' % from the left and ')} % from the top.`;
    drawMarks(corner && isBox(corner, cross) ? boxOf(corner, cross) : null);
  } else if (event.key === 'Enter' || event.key === ' ') pointAt(cross, event.shiftKey);
  else if (event.key === 'Escape') change(steps); else return;
  event.preventDefault();
};
hand.onfocus = () => { if (hand.matches(':focus-visible')) $('tool-words').textContent = BY_KEYS; };

$('tools').onchange = () => {
  $('pair').dataset.tool = tool();
  hand.hidden = tool() === 'compare';
  change(steps);
};
$('undo').onclick = () => { change(steps.slice(0, -1)); told(); };
$('clear').onclick = () => { change([]); told(); };
addEventListener('keydown', event => {
  if (event.key.toLowerCase() !== 'z' || !(event.ctrlKey || event.metaKey) || event.shiftKey || $('undo').disabled) return;
  event.preventDefault();
  $('undo').click();
});
$('tools').onchange();
