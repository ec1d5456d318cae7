// What the network's outputs say of an image, as standalone/network.py has it.

// Objects, best first: label, score, box in the image's pixels, and the mask's runs and area.
function readDetections(outputs, size, newSize, threshold) {
  const [height, width] = size;
  const factors = [newSize[1] / width, newSize[0] / height].map(Math.fround);
  const scores = Array.from(outputs.scores.data);
  const labels = wholeNumbers(outputs.labels.data);
  const order = scores.map((_, place) => place).sort((one, other) => scores[other] - scores[one]);
  return order.map((place) => {
    const sides = Array.from(outputs.boxes.data.subarray(4 * place, 4 * place + 4));
    const box = sides.map((side, axis) => Math.fround(side / factors[axis % 2]));
    const found = {label: labels[place], score: scores[place], box, runs: null, area: null};
    if (outputs.masks) {
      const [, rows, columns] = outputs.masks.dims;
      const cells = rows * columns;
      const values = outputs.masks.data.subarray(place * cells, (place + 1) * cells);
      found.runs = maskRuns({rows, columns, values}, box, size, threshold);
      found.area = areaOf(found.runs);
    }
    return found;
  });
}

// An object's probabilities in its box as runs of pixels above the threshold: row, start, end, ...
// Bilinear between the middles of the mask's cells, and nothing beyond them.
function maskRuns(mask, box, size, threshold) {
  const runs = [];
  if (!box.every(Number.isFinite)) {
    return Int32Array.from(runs);
  }
  const starts = [0, 1].map((axis) => Math.max(Math.floor(box[axis]) - 1, 0));
  const ends = [0, 1].map((axis) => Math.min(Math.ceil(box[axis + 2]) + 1, size[1 - axis]));
  const across = cellShares(starts[0], ends[0], box[0], box[2], mask.columns);
  const down = cellShares(starts[1], ends[1], box[1], box[3], mask.rows);
  const line = new Float64Array(mask.columns + 1);
  for (let row = 0; row < down.length; row++) {
    line.fill(0);
    for (const [cell, share] of down[row]) {
      for (let column = 0; column < mask.columns; column++) {
        line[column] += share * mask.values[cell * mask.columns + column];
      }
    }
    let start = -1;
    for (let column = 0; column <= across.length; column++) {
      let within = false;
      if (column < across.length) {
        let value = 0;
        for (const [cell, share] of across[column]) {
          value += share * line[cell];
        }
        within = value >= threshold;
      }
      if (within && start < 0) {
        start = column;
      } else if (!within && start >= 0) {
        runs.push(starts[1] + row, starts[0] + start, starts[0] + column);
        start = -1;
      }
    }
  }
  return Int32Array.from(runs);
}

// Of each pixel along an axis the cells of a mask that add to it, and the share of each.
function cellShares(start, end, low, high, cells) {
  const {fround} = Math;
  return Array.from({length: Math.max(end - start, 0)}, (_, index) => {
    const pixel = start + index + 0.5;
    let place = fround(fround(fround(fround(pixel - low) / fround(high - low)) * 2) - 1);
    if (Math.abs(place) === Infinity) {
      place = 0;
    }
    place = fround(fround(fround(fround(place + 1) * cells) - 1) / 2);
    const first = Math.floor(place);
    return [first, first + 1]
      .map((cell) => [cell, fround(1 - Math.abs(fround(place - cell)))])
      .filter(([cell, share]) => cell >= 0 && cell < cells && share > 0);
  });
}

function areaOf(runs) {
  let area = 0;
  for (let place = 0; place < runs.length; place += 3) {
    area += runs[place + 2] - runs[place + 1];
  }
  return area;
}

// The class of each pixel, (H, W), and how many pixels each class has.
function readLabelMap(output, size, classes) {
  const [height, width] = output.dims.slice(1);
  if (height !== size[0] || width !== size[1]) {
    throw new Error(
      `the model gives a label map of ${width} × ${height} for an image of ${size[1]} × ${size[0]}`,
    );
  }
  const numbers = wholeNumbers(output.data);
  const labels = classes <= 255 ? Uint8Array.from(numbers) : Int32Array.from(numbers);
  const areas = new Array(classes).fill(0);
  for (const label of labels) {
    areas[label] += 1;
  }
  return {labels, areas};
}

// Whole numbers of 64 bits, which are small, as ones of 32.
function wholeNumbers(data) {
  if (!(data instanceof BigInt64Array)) {
    return data;
  }
  const halves = new Int32Array(data.buffer, data.byteOffset, 2 * data.length);
  return Int32Array.from({length: data.length}, (_, place) => halves[2 * place]);
}
