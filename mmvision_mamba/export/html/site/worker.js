// Computes beside the page, so that the page does not freeze.

let description, check, ort, session;

const tasks = {start, predict, verify};

// One after the other, whatever comes while one is computed.
let last = Promise.resolve();
self.onmessage = ({data}) => {
  last = last.then(async () => {
    let answer, transferred;
    try {
      ({transferred, ...answer} = await tasks[data.task](data));
    } catch (error) {
      answer = {error: error.message ?? String(error), deviates: error instanceof Deviation};
    }
    self.postMessage({number: data.number, ...answer}, transferred ?? []);
  });
};

// Make the network ready, of texts in base64 of gzip's format.
async function start({texts, ...given}) {
  ({description, check} = given);
  const [script, wasm, model] = await Promise.all(
    ['script', 'wasm', 'model'].map((name) => unpack(texts[name])),
  );
  const address = URL.createObjectURL(new Blob([script], {type: 'text/javascript'}));
  ort = await import(address);
  URL.revokeObjectURL(address);
  // Threads would need a server that isolates the page.
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = wasm.buffer;
  session = await ort.InferenceSession.create(model, {
    executionProviders: ['wasm'],
    logSeverityLevel: 4, // what it logs, it raises too
  });
  return {};
}

async function unpack(texts) {
  const parts = texts.flatMap((text) => {
    const step = 2 ** 22; // a multiple of 4, as base64 has it
    const starts = Array.from({length: Math.ceil(text.length / step)}, (_, place) => place * step);
    return starts.map((from) => bytesOf(atob(text.slice(from, from + step))));
  });
  const unzipped = new Blob(parts).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(unzipped).arrayBuffer());
}

function bytesOf(binary) {
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) {
    bytes[place] = binary.charCodeAt(place);
  }
  return bytes;
}

async function predict({file}) {
  if (session === undefined) {
    throw new Error('the model is not loaded');
  }
  const started = performance.now();
  const {bitmap, image} = await readImage(file);
  const prepared = prepare(image);
  const outputs = await run(prepared, outputNames());
  const found = resultOf(prepared, outputs);
  const seconds = (performance.now() - started) / 1000;
  const transferred = [bitmap];
  if (found.labels) {
    transferred.push(found.labels.buffer);
  }
  return {found, bitmap, seconds, transferred};
}

function outputNames() {
  return description.outputs.filter((name) => name !== 'probabilities');
}

function prepare(image) {
  const newSize = resizedSize(image.size, description.preprocessing.resize);
  if (Math.min(...newSize) < 1) {
    throw new Error(`it is ${image.size[1]} × ${image.size[0]}, which comes to a side of no pixel`);
  }
  const method = description.preprocessing.resize?.interpolation;
  const resized = resizeImage(image, newSize, method);
  const input = networkInput(resized, description);
  const isChannelsLast = description.input.layout === 'NHWC';
  refuseSize(input.shape.slice(isChannelsLast ? 1 : 2), image.size, description.input);
  return {size: image.size, resized, input};
}

async function run(prepared, names) {
  const {input} = prepared;
  const feeds = {
    [description.input.name]: new ort.Tensor(description.input.dtype, input.data, input.shape),
  };
  if (session.inputNames.includes('size')) {
    feeds.size = new ort.Tensor('int64', BigInt64Array.from(prepared.size, BigInt), [2]);
  }
  return session.run(feeds, names);
}

function resultOf({size, resized}, outputs) {
  if (description.task === 'detection') {
    const threshold = description.mask_threshold;
    return {size, objects: readDetections(outputs, size, resized.size, threshold)};
  }
  return {size, ...readLabelMap(outputs.label_map, size, description.classes.length)};
}

// Hold the model against its check; the first thing that deviates is named.
async function verify() {
  const {image} = await readImage(new Blob([bytesOf(atob(check.image))], {type: 'image/png'}));
  const prepared = prepare(image);
  const tensors = check.maps.map((entry) => entry.tensor);
  const inner = tensors.filter((name) => ![null, description.input.name].includes(name));
  let outputs = null;
  const compute = async (first) => {
    try {
      outputs ??= await run(prepared, [...new Set([...inner, ...outputNames()])]);
    } catch (error) {
      throw new Deviation(`${first} deviates: ${error.message}`);
    }
    return outputs;
  };
  for (const entry of check.maps) {
    if (entry.tensor === null) {
      const {size, pixels} = prepared.resized;
      compareMap(entry, {shape: [...size, 3], data: pixels});
    } else if (entry.tensor === description.input.name) {
      compareMap(entry, prepared.input);
    } else {
      const {dims, data} = (await compute(entry.name))[entry.tensor];
      compareMap(entry, {shape: dims, data});
    }
  }
  const names = check.maps.map((entry) => entry.name);
  if (check.result !== null) {
    const found = resultOf(prepared, await compute('the result'));
    compareResult(check.result, found, check.slack);
    names.push('result');
  }
  return {names};
}
