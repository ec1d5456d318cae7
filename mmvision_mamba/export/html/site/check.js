// A model held against what it gave when it was made, as standalone/check.py does it.

class Deviation extends Error {}

// At most `count` values from all over an array, the same places in arrays of one size.
function sampled(array, count) {
  if (array.length <= count) {
    return Array.from(array, Number);
  }
  return Array.from({length: count}, (_, place) => {
    const at = (((place + 0.5) * 0.6180339887498949) % 1) * array.length;
    return Number(array[Math.floor(at)]);
  });
}

// Hold one map, {data, shape}, against what is expected of it.
function compareMap(expected, found) {
  const {name} = expected;
  if (String(found.shape) !== String(expected.shape)) {
    throw new Deviation(
      `${name} deviates: it is of shape (${found.shape.join(', ')}), and ` +
        `(${expected.shape.join(', ')}) is expected`,
    );
  }
  const values = sampled(found.data, 256);
  const apart = Math.hypot(...values.map((value, place) => value - expected.values[place]));
  const difference = apart / Math.max(Math.hypot(...expected.values), 1e-12);
  if (!(difference <= expected.tolerance)) {
    throw new Deviation(
      `${name} deviates: by ${difference.toPrecision(2)} relative to the norm, where at most ` +
        `${expected.tolerance} is expected`,
    );
  }
}

// Hold a result, as the worker sends it, against what is expected.
function compareResult(expected, found, slack) {
  const sameKind = 'labels' in expected === 'labels' in found;
  if (!sameKind || String(found.size) !== String(expected.shape)) {
    throw new Deviation(
      `result deviates: it is of another kind, or an image of ${found.size.join(' × ')}`,
    );
  }
  if ('labels' in expected) {
    const labels = sampled(found.labels, 1024);
    const others = labels.filter((label, place) => label !== expected.labels[place]).length;
    if (others / labels.length > slack) {
      const share = ((100 * others) / labels.length).toFixed(1);
      throw new Deviation(`result deviates: ${share}% of the label map is another`);
    }
    return;
  }
  // Of objects of one score the order may be another, and so the last of them.
  const candidates = found.objects.slice(0, 20);
  for (const wanted of expected.objects.slice(0, 10)) {
    if (!candidates.some((other) => isSame(wanted, other, slack))) {
      const box = wanted.box.map((side) => side.toFixed(1)).join(', ');
      throw new Deviation(
        `result deviates: an object of class ${wanted.label}, score ${wanted.score.toFixed(3)} ` +
          `and box ${box} is not found`,
      );
    }
  }
}

function isSame(wanted, other, slack) {
  if (wanted.label !== other.label || Math.abs(wanted.score - other.score) > slack) {
    return false;
  }
  if (overlap(wanted.box, other.box) < 1 - 10 * slack) {
    return false;
  }
  if (wanted.area === null || other.area === null) {
    return wanted.area === other.area;
  }
  // A box that moves by a hair moves the mask's rim with it.
  return Math.abs(wanted.area - other.area) <= 4 + 20 * slack * wanted.area;
}

// Intersection over union of two boxes.
function overlap(one, other) {
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = [0, 1]
    .map((axis) => Math.min(one[axis + 2], other[axis + 2]) - Math.max(one[axis], other[axis]))
    .reduce((product, side) => product * Math.max(side, 0), 1);
  const whole = area(one) + area(other) - shared;
  return whole > 0 ? shared / whole : Number(String(one) === String(other));
}
