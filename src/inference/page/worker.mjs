// The network: loads the runtime and the model, then answers each picture and prompt with its mask and its stages.
import * as ort from './runtime/ort.wasm.min.mjs';
import {logitsOf} from './enlarge.mjs';
import {promptMaps} from './prompts.mjs';
import {shrunk} from './resize.mjs';

const STAGE_OUTPUT = /^(mask|background|edge|residual)_(\d+)$/;
const SILENCE = {box: null, clicks: [], width: 1, height: 1};

/** Fetch a file as bytes and report each chunk's length, for a progress that counts both downloads. */
async function bytesOf(address, onChunk) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} cannot be loaded (${response.status})`);
  const chunks = [];
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    onChunk(part.value.length);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

async function load() {
  const start = performance.now();
  const site = await (await fetch('site.json')).json();
  let done = 0;
  const onChunk = length => { done += length; postMessage({kind: 'progress', share: Math.min(1, done / site.bytes)}); };
  const [wasm, model] = await Promise.all([bytesOf('runtime/ort-wasm-simd-threaded.wasm', onChunk), bytesOf(site.model, onChunk)]);
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.wasmPaths = new URL('runtime/', self.location.href).href;
  ort.env.wasm.numThreads = 1; // more threads cost more than they give at these sizes, and need special headers
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(model, {executionProviders: ['wasm'], graphOptimizationLevel: 'all'});
  postMessage({kind: 'ready', site, seconds: (performance.now() - start) / 1000});
  return {session, side: site.side};
}

/** Return an output as {width, height, channels, data}: bytes, channels last. */
function asPicture(tensor) {
  const dims = tensor.dims.filter((size, axis) => size > 1 || axis >= tensor.dims.length - 2);
  const channels = dims.length === 3 ? dims[2] : 1;
  const data = tensor.type === 'uint8' ? tensor.data.slice() : Uint8Array.from(tensor.data, value => Math.round(255 * Math.min(1, Math.max(0, value))));
  return {width: dims[1], height: dims[0], channels, data};
}

/** Return M_0 … M_K with what belongs to each, from outputs called mask_k, background_k, edge_k and residual_k. */
function stagesOf(outputs) {
  const stages = [];
  for (const [name, tensor] of Object.entries(outputs)) {
    const [, kind, stage] = STAGE_OUTPUT.exec(name) ?? [];
    if (kind) (stages[Number(stage)] ??= {})[kind] = asPicture(tensor);
  }
  return stages.filter(stage => stage?.mask);
}

/** Return a prompt as those of the inputs prompt_target, prompt_certainty and prompt_clicked that the network has. */
function promptInputs(prompt, side, names) {
  const maps = Object.entries(promptMaps(prompt, prompt, side)).filter(([name]) => names.includes(`prompt_${name}`));
  return Object.fromEntries(maps.map(([name, map]) => [`prompt_${name}`, new ort.Tensor('float32', map, [1, 1, side, side])]));
}

/**
 * Segment a bitmap, or again what was made `small` of it, with a prompt. The file would resize a picture itself; here it is given
 * one of the network's size, so that a photograph costs no more than a stamp.
 */
async function segment({session, side}, {bitmap, small = shrunk(bitmap, side), prompt = SILENCE}) {
  const start = performance.now();
  bitmap?.close();
  const inputs = {picture: new ort.Tensor('uint8', small, [side, side, 3])};
  if (session.inputNames.length > 1) Object.assign(inputs, promptInputs(prompt, side, session.inputNames));
  const outputs = await session.run(inputs);
  return {logits: logitsOf(outputs.mask.data), side, small, stages: stagesOf(outputs), seconds: (performance.now() - start) / 1000};
}

const loading = load();
loading.catch(error => postMessage({kind: 'failed', error: String(error.message ?? error)}));
self.onmessage = async ({data}) => {
  try {
    postMessage({kind: 'segmented', id: data.id, ...await segment(await loading, data)});
  } catch (error) {
    postMessage({kind: 'refused', id: data.id, error: String(error.message ?? error)});
  }
};
