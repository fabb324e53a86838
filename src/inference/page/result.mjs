// One result on the page: before and after, the view, and what is saved.
import {enlarged} from './enlarge.mjs';
import {pixelsOf} from './pictures.mjs';
import {toCoco} from './regions.mjs';
import {VIEW_WORDS, drawView} from './views.mjs';

const $ = id => document.getElementById(id);

/** The view that is chosen: overlay, cutout or map. */
const view = () => document.querySelector('input[name=view]:checked').value;

/**
 * Show a picture and its mask; the handlers of earlier results are replaced.
 * @param mask levels at the size of `picture.shown`
 * @param found {logits, side}: what the mask was enlarged from, and is enlarged from again when it is saved
 */
export function showResult(picture, mask, found, regions, say) {
  const {shown} = picture;
  put($('before'), shown.pixels, shown);
  $('name').textContent = picture.name;
  $('size-words').textContent = `Saved at the picture’s own size, ${picture.width} × ${picture.height} pixels.`;
  const draw = () => {
    put($('after'), drawView(view(), shown.pixels, mask, shown.width, shown.height), shown);
    $('view-words').textContent = VIEW_WORDS[view()];
    $('after').setAttribute('aria-label', VIEW_WORDS[view()]);
    $('pair').dataset.view = view();
  };
  $('views').onchange = draw;
  $('cut').oninput = placeCut;
  $('save-png').onclick = () => savePng(picture, found, say);
  $('save-json').onclick = () => saveJson(picture, regions, say);
  $('pair').style.setProperty('--ratio', shown.width / shown.height);
  $('pair').style.aspectRatio = `${shown.width} / ${shown.height}`;
  draw();
  placeCut();
  $('result').hidden = false;
}

function placeCut() {
  const value = Number($('cut').value);
  $('pair').style.setProperty('--share', value / 100);
  $('cut').setAttribute('aria-valuetext', `${100 - value} % of the result is shown`);
}

function put(canvas, pixels, {width, height}) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext('2d').putImageData(new ImageData(pixels, width, height), 0, 0);
}

async function savePng(picture, found, say) {
  const kind = view();
  say('Saving …');
  await new Promise(resolve => setTimeout(resolve)); // a large picture takes a second: show the words first
  try {
    const pixels = pixelsOf(picture.bitmap, picture);
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    put(canvas, drawView(kind, pixels, enlarged(found.logits, found.side, picture), picture.width, picture.height), picture);
    save(await canvas.convertToBlob({type: 'image/png'}), `${stem(picture.name)}_${kind}.png`, say);
  } catch {
    say('The picture is too large for this browser to save. Make it smaller, or use python -m src.predict.');
  }
}

function saveJson(picture, regions, say) {
  const scale = {x: picture.width / picture.shown.width, y: picture.height / picture.shown.height};
  const text = JSON.stringify(toCoco(regions, picture, scale), null, 1);
  save(new Blob([text], {type: 'application/json'}), `${stem(picture.name)}.json`, say);
}

function save(blob, name, say) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`Saved ${name}.`);
}

function stem(name) {
  return name.replace(/\.\w+$/, '') || 'picture';
}
