// The worker behind a function: network.segment(inputs, moved) → {logits, side, small, stages, seconds}.

/**
 * Start the worker.
 * @param onProgress called with the share of the downloads that is done, 0 … 1
 * @returns {ready, segment}: `ready` resolves to {site, seconds} or rejects with what went wrong
 */
export function startNetwork(onProgress) {
  const worker = new Worker('worker.mjs', {type: 'module'});
  const waiting = new Map();
  let count = 0;
  const ready = new Promise((resolve, reject) => {
    worker.onerror = event => reject(new Error(event.message || 'the worker did not start'));
    worker.onmessage = ({data}) => {
      if (data.kind === 'progress') onProgress(data.share);
      else if (data.kind === 'ready') resolve(data);
      else if (data.kind === 'failed') reject(new Error(data.error));
      else answer(data);
    };
  });

  function answer(data) {
    const {resolve, reject} = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.kind === 'segmented') resolve(data); else reject(new Error(data.error));
  }

  /** Segment {bitmap}, which moves to the worker, or {small, prompt}, and return {logits, side, small, stages, seconds}. */
  function segment(inputs, moved = []) {
    return new Promise((resolve, reject) => {
      waiting.set(++count, {resolve, reject});
      worker.postMessage({id: count, ...inputs}, moved);
    });
  }
  return {ready, segment};
}
