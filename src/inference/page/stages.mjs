// The unfolding as a scrubber: M_0 … M_K and the final mask, each with the background and the edges that belong to it.
import {percent} from './words.mjs';

const PANES = {
  mask: ['M', 'mask', 'Where the object is'],
  background: ['B', 'background', 'The picture without it'],
  edge: ['E', 'edge', 'Its edges'],
  residual: ['r', 'residual', 'Where mask and background disagree'],
};
const DIGITS = '₀₁₂₃₄₅₆₇₈₉';

const subscript = number => [...String(number)].map(digit => DIGITS[digit]).join('');

/** Show the stages of a result in the section that has the ids `stage`, `stops`, `stage-words` and `panes`. */
export function showStages(section, stages, final) {
  section.hidden = !stages.length;
  if (!stages.length) return;
  const slider = section.querySelector('#stage'), last = stages.length;
  const stops = [...stages.map((stage, k) => ({...stage, label: `M${subscript(k)}`, name: k ? `Stage ${k} of ${last - 1}` : 'The first guess'})),
    {mask: final, label: 'final', name: 'The final mask'}];
  section.querySelector('#stops').replaceChildren(...stops.map(stop => element('li', stop.label)));
  slider.max = last;
  slider.value = last;
  const show = () => showStop(section, stops, Number(slider.value));
  slider.oninput = show;
  makePanes(section, stages, final);
  show();
}

function makePanes(section, stages, final) {
  const kinds = Object.keys(PANES).filter(kind => stages.some(stage => stage[kind]));
  section.querySelector('#panes').replaceChildren(...kinds.map(kind => {
    const figure = element('figure'), canvas = element('canvas'), caption = element('figcaption');
    figure.dataset.kind = kind;
    canvas.setAttribute('role', 'img');
    canvas.style.aspectRatio = `${final.width} / ${final.height}`;
    caption.append(element('b'), ' ', element('span', PANES[kind][2]));
    figure.append(canvas, caption);
    return figure;
  }));
}

function showStop(section, stops, index) {
  const stop = stops[index], isFinal = index === stops.length - 1;
  for (const figure of section.querySelectorAll('figure')) {
    const kind = figure.dataset.kind, [letter, noun, meaning] = PANES[kind];
    const picture = stop[kind] ?? (isFinal ? stops[index - 1][kind] : undefined);
    const symbol = kind === 'mask' && isFinal ? 'final mask' : `${letter}${subscript(isFinal ? index - 1 : index)}`;
    figure.classList.toggle('empty', !picture);
    figure.querySelector('b').textContent = symbol;
    figure.querySelector('span').textContent = picture ? meaning : 'begins with stage 1';
    const canvas = figure.querySelector('canvas');
    canvas.setAttribute('aria-label', picture ? `${noun}, ${symbol}` : `no ${noun} yet`);
    paint(canvas, picture);
  }
  const words = inWords(stops, index);
  section.querySelector('#stage-words').textContent = words;
  section.querySelector('#stage').setAttribute('aria-valuetext', words);
  section.querySelectorAll('#stops li').forEach((item, k) => item.classList.toggle('now', k === index));
}

function inWords(stops, index) {
  const share = stop => stop.mask.data.reduce((sum, level) => sum + (level > 127.5), 0) / stop.mask.data.length;
  const now = share(stops[index]), name = stops[index].name;
  if (!index) return `${name}: ${percent(now)} of the picture.`;
  const change = now - share(stops[index - 1]);
  const changed = Math.abs(change) < 5e-4 ? 'as much as before' : `${percent(Math.abs(change))} ${change > 0 ? 'more' : 'less'} than before`;
  return `${name}: ${percent(now)} of the picture, ${changed}.`;
}

/** Draw bytes of one or three channels at their own size; style sheets stretch the canvas. */
function paint(canvas, picture) {
  const {width, height, channels, data} = picture ?? {width: 1, height: 1, channels: 1, data: [0]};
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  for (let i = 0, j = 0; i < width * height; i++, j += 4) {
    for (let c = 0; c < 3; c++) image.data[j + c] = data[i * channels + (channels === 3 ? c : 0)];
    image.data[j + 3] = picture ? 255 : 0;
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
}

function element(tag, text = '') {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
