// The page: how a picture comes in, how its mask follows what is shown on it, and what is said meanwhile.
import {enlarged} from './enlarge.mjs';
import {startNetwork} from './network.mjs';
import {NoPicture, readPicture} from './pictures.mjs';
import {promptWords} from './prompts.mjs';
import {findRegions} from './regions.mjs';
import {showResult} from './result.mjs';
import {showStages} from './stages.mjs';
import {beginTools, offerTools, said} from './tools.mjs';
import {describe} from './words.mjs';

const $ = id => document.getElementById(id);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let current = null, wanted = null, isWorking = false;

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
  offerTools(site.prompts, () => { if (!wanted?.blob) ask({}); });
  $('about').textContent = `${site.name}, ${(site.bytes / 1e6).toFixed(0)} MB with its runtime. ${site.note ? `Weights: ${site.note}.` : ''}`;
  if (isWorking) return;
  enter('ready');
  say(`Ready after ${seconds.toFixed(1)} seconds. Choose a picture.`);
}).catch(error => {
  enter('failed');
  for (const button of document.querySelectorAll('#chooser button')) button.disabled = true;
  say(`The network could not be started: ${error.message}. Reload the page, or try a current Firefox, Chrome or Safari.`);
});

/** Segment a file, then what is shown on it again and again; of what is asked for meanwhile only the last counts. */
async function ask(job) {
  if (document.documentElement.dataset.state === 'failed') return;
  wanted = job;
  if (isWorking) return;
  isWorking = true;
  while (wanted) {
    const now = wanted;
    wanted = null;
    await (now.blob ? open(now) : again(now)).catch(error => refuse(error, now));
  }
  isWorking = false;
}

async function open({blob, name}) {
  const isLoading = document.documentElement.dataset.state === 'loading';
  enter('busy');
  say(isLoading ? 'The picture waits for the network …' : 'Looking …');
  const picture = await readPicture(blob, name);
  const found = await network.segment({bitmap: picture.plain}, [picture.plain]);
  if (wanted?.blob) return;
  [current, wanted] = [{...picture, small: found.small}, null];
  beginTools(picture);
  show(found, said());
  document.documentElement.dataset.shown = 'result';
  $('result').scrollIntoView({behavior: calm.matches ? 'auto' : 'smooth', block: 'nearest'});
}

/** Segment the same picture with the prompt that its tools give by now; `before` stays in front of what is said. */
async function again({before = ''}) {
  enter('busy');
  say(`${before}Looking again …`);
  const {small, width, height} = current, marks = said();
  const found = await network.segment({small, prompt: {...marks, width, height}});
  if (!wanted?.blob) show(found, marks, before);
}

/** Show a mask, and name the marks that it was made with; there may be further ones by now. */
function show({logits, side, stages, seconds}, marks, before = '') {
  const {shown} = current, mask = enlarged(logits, side, shown), regions = findRegions(mask, shown.width, shown.height);
  showResult(current, mask, {logits, side}, regions, say);
  showStages($('unfolding'), stages, {data: mask, channels: 1, width: shown.width, height: shown.height});
  enter('done');
  current.heard = JSON.stringify(marks);
  const prompt = promptWords(marks);
  say(`${before}${prompt && `With ${prompt}: `}${describe(regions, shown)} It took ${seconds < 0.1 ? 'less than 0.1' : seconds.toFixed(1)} seconds.`);
}

/** Report what cannot be read. Marks on the picture before it that a file has overtaken are then heard after all. */
function refuse(error, {blob, name}) {
  if (wanted?.blob || document.documentElement.dataset.state === 'failed') return;
  const words = error instanceof NoPicture ? error.message : `The network could not read ${name ?? current.name}: ${error.message}.`;
  enter(current ? 'done' : 'ready');
  say(words);
  if (blob && current && (wanted || JSON.stringify(said()) !== current.heard)) wanted = {before: `${words} `};
}

async function openExample(address) {
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`status ${response.status}`);
    ask({blob: await response.blob(), name: address.split('/').pop()});
  } catch (error) {
    say(`The example could not be loaded (${error.message}).`);
  }
}

function openFirst(files) {
  if (files.length) ask({blob: files[0], name: files[0].name || 'pasted.png'});
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
