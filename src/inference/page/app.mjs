// The page: how a picture comes in, and what is said meanwhile.
import {enlarged} from './enlarge.mjs';
import {startNetwork} from './network.mjs';
import {NoPicture, readPicture} from './pictures.mjs';
import {findRegions} from './regions.mjs';
import {showResult} from './result.mjs';
import {showStages} from './stages.mjs';
import {describe} from './words.mjs';

const $ = id => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let latest = 0;

/** Say something in the line that screen readers announce. */
function say(words) {
  $('status').textContent = words;
}

/** loading, ready, busy, done or failed: what the style sheet and a test look at. */
function enter(state) {
  document.documentElement.dataset.state = state;
}

const network = startNetwork(share => {
  if (document.documentElement.dataset.state === 'loading') say(share < 1 ? `Loading the network … ${Math.round(100 * share)} %` : 'Starting the network …');
});
network.ready.then(({site, seconds}) => {
  $('about').textContent = `${site.name}, ${(site.bytes / 1e6).toFixed(0)} MB with its runtime. ${site.note ? `Weights: ${site.note}.` : ''}`;
  if (latest) return;
  enter('ready');
  say(`Ready after ${seconds.toFixed(1)} seconds. Choose a picture.`);
}).catch(error => {
  latest += 1; // whatever is waiting gets no other answer
  enter('failed');
  for (const button of document.querySelectorAll('#chooser button')) button.disabled = true;
  say(`The network could not be started: ${error.message}. Reload the page, or try a current Firefox, Chrome or Safari.`);
});

/** Segment a file; one that is chosen meanwhile takes its place. */
async function open(blob, name) {
  const before = document.documentElement.dataset.state;
  if (before === 'failed') return;
  const turn = ++latest;
  enter('busy');
  say(before === 'loading' ? 'The picture waits for the network …' : 'Looking …');
  try {
    const picture = await readPicture(blob, name);
    const {logits, side, stages, seconds} = await network.segment({bitmap: picture.plain}, [picture.plain]);
    if (turn !== latest) return;
    const {shown} = picture, mask = enlarged(logits, side, shown);
    const regions = findRegions(mask, shown.width, shown.height);
    showResult(picture, mask, {logits, side}, regions, say);
    showStages($('unfolding'), stages, {data: mask, channels: 1, width: shown.width, height: shown.height});
    enter('done');
    document.documentElement.dataset.shown = 'result';
    say(`${describe(regions, shown)} It took ${seconds < 0.1 ? 'less than 0.1' : seconds.toFixed(1)} seconds.`);
    $('result').scrollIntoView({behavior: calm.matches ? 'auto' : 'smooth', block: 'nearest'});
  } catch (error) {
    if (turn !== latest) return;
    enter($('result').hidden ? 'ready' : 'done');
    say(error instanceof NoPicture ? error.message : `The network could not read ${name}: ${error.message}.`);
  }
}

async function openExample(address) {
  const response = await fetch(address);
  open(await response.blob(), address.split('/').pop());
}

function openFirst(files) {
  if (files.length) open(files[0], files[0].name || 'pasted.png');
}

for (const [button, input] of [['choose', 'file'], ['photograph', 'camera']]) {
  $(button).onclick = () => $(input).click();
  $(input).onchange = ({target}) => { openFirst(target.files); target.value = ''; };
}
for (const button of document.querySelectorAll('[data-example]')) button.onclick = () => openExample(button.dataset.example);
addEventListener('paste', event => openFirst(event.clipboardData.files));
addEventListener('dragover', event => { event.preventDefault(); document.body.classList.add('over'); });
addEventListener('dragleave', event => { if (!event.relatedTarget) document.body.classList.remove('over'); });
addEventListener('drop', event => {
  event.preventDefault();
  document.body.classList.remove('over');
  openFirst(event.dataTransfer.files);
  if (!event.dataTransfer.files.length) say('That was not a file. Drop a picture file, or save the picture first.');
});
