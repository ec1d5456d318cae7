// The page: an image goes to the worker, and what comes back is shown. All that comes from the
// model, such as a class's name, is put in as text.

const byId = (id) => document.getElementById(id);
const description = JSON.parse(byId('description').textContent);
const check = JSON.parse(byId('check').textContent);
const {task, classes, palette} = description;
const canvas = byId('drawn');
const worker = startWorker();
let shown = null; // {name, bitmap, found, seconds} of the image on show
let newest = 0; // number of the request for the newest image
let waits; // the clock of what is computed

function startWorker() {
  const source = new Blob([byId('worker').textContent], {type: 'text/javascript'});
  const started = new Worker(URL.createObjectURL(source));
  started.onerror = (event) => {
    event.preventDefault();
    say('failed', `This browser cannot run the page: ${event.message ?? 'no module worker'}.`);
  };
  return started;
}

// The worker's answer to a task; rejects with its error.
let sent = 0;
function ask(task, values) {
  const number = ++sent;
  return new Promise((resolve, reject) => {
    worker.addEventListener('message', function listen({data}) {
      if (data.number === number) {
        worker.removeEventListener('message', listen);
        (data.error === undefined ? resolve : reject)(data);
      }
    });
    worker.postMessage({number, task, ...values});
  });
}

// What is going on, and of what takes time the seconds.
function say(state, text) {
  clearInterval(waits);
  const status = byId('status');
  status.dataset.state = state;
  status.textContent = text;
  if (state === 'busy') {
    const start = performance.now();
    waits = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      status.textContent = seconds ? `${text} ${seconds} s` : text;
    }, 1000);
  }
}

// The texts of a part of the page's data, which is then let go.
function take(name) {
  return [...document.querySelectorAll(`script[data-of="${name}"]`)].map((element) => {
    const text = element.textContent;
    element.remove();
    return text;
  });
}

async function load() {
  const texts = {script: take('script'), wasm: take('wasm'), model: take('model')};
  try {
    await ask('start', {texts, description, check});
  } catch ({error}) {
    say('failed', `The model cannot be loaded: ${error}`);
    return;
  }
  byId('verify').disabled = check === null;
  if (newest === 0) {
    say('done', 'Ready.');
  }
  if (check !== null && /[?#&]verify\b/.test(location.search + location.hash)) {
    await verify();
  }
}

async function open(files) {
  const images = [...(files ?? [])];
  if (images.length === 0) {
    return;
  }
  const file = images[0];
  const number = ++newest;
  say('busy', `Computing ${file.name} …`);
  try {
    const answer = await ask('predict', {file});
    if (number === newest) {
      shown?.bitmap.close();
      shown = {name: file.name, ...answer};
      show();
    }
  } catch ({error}) {
    if (number === newest) {
      shown?.bitmap.close();
      shown = null;
      show();
      say('failed', `${file.name} cannot be used: ${error}.`);
    }
  }
}

function look() {
  return {
    score: Number(byId('score').value),
    opacity: Number(byId('opacity').value),
    boxes: byId('boxes').checked,
    masks: byId('masks').checked,
    labels: byId('labels').checked,
  };
}

// Show the newest result as the controls say.
function show() {
  for (const output of document.querySelectorAll('output')) {
    output.textContent = Number(byId(output.htmlFor[0]).value).toFixed(2);
  }
  canvas.hidden = shown === null;
  byId('invitation').hidden = shown !== null;
  byId('place').classList.toggle('filled', shown !== null);
  byId('save-image').disabled = byId('save-result').disabled = shown === null;
  const rows = byId('table').querySelector('tbody');
  rows.replaceChildren();
  if (shown === null) {
    return;
  }
  draw(canvas, shown, look(), description);
  rows.append(...(task === 'detection' ? objectRows(shown.found) : classRows(shown.found)));
  say('done', summary());
}

function summary() {
  const {found, seconds, name} = shown;
  const image = `${name}, ${found.size[1]} × ${found.size[0]}, in ${seconds.toFixed(1)} s`;
  if (task !== 'detection') {
    const present = found.areas.filter(Boolean).length;
    return `${present} ${present === 1 ? 'class' : 'classes'} in ${image}`;
  }
  const {score} = look();
  const many = shownObjects(found, score).length;
  if (many === 0 && found.objects.length > 0) {
    const best = found.objects[0];
    return `No object of this score in ${image}: the best, ${classes[best.label]}, has ${best.score.toFixed(2)}`;
  }
  return `${many} ${many === 1 ? 'object' : 'objects'} in ${image}`;
}

function objectRows(found) {
  return shownObjects(found, look().score).map(({label, score, box, area}) => {
    const [left, top, right, bottom] = box.map(Math.round);
    const place = `${left}, ${top}`;
    const size = `${right - left} × ${bottom - top}`;
    return row(label, [score.toFixed(2), place, size, ...(area === null ? [] : [many(area)])]);
  });
}

function classRows({areas, labels}) {
  return areas
    .map((area, label) => ({area, label}))
    .filter(({area}) => area > 0)
    .sort((one, other) => other.area - one.area)
    .map(({area, label}) =>
      row(label, [`${((100 * area) / labels.length).toFixed(1)}%`, many(area)]),
    );
}

function row(label, cells) {
  const swatch = document.createElement('span');
  swatch.className = 'swatch';
  swatch.style.backgroundColor = css(palette[label]);
  const row = document.createElement('tr');
  for (const text of [classes[label], ...cells]) {
    row.insertCell().textContent = text;
  }
  row.cells[0].prepend(swatch);
  return row;
}

function many(number) {
  return number.toLocaleString('en');
}

async function verify() {
  const verified = byId('verified');
  byId('verify').disabled = true;
  verified.dataset.state = 'busy';
  verified.textContent = 'Verifying …';
  try {
    const {names} = await ask('verify', {});
    verified.dataset.state = 'done';
    verified.textContent = `verified: ${names.join(', ')}`;
  } catch ({error}) {
    verified.dataset.state = 'failed';
    verified.textContent = error;
  }
  byId('verify').disabled = false;
}

function save(blob, suffix) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${shown.name.replace(/\.\w+$/, '')}-${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function saveResult() {
  if (task === 'detection') {
    const text = cocoText(shown.name, shown.found, look().score, classes);
    save(new Blob([text], {type: 'application/json'}), 'predictions.json');
  } else {
    save(await labelMapFile(shown.found, palette), 'labels.png');
  }
}

function arrange() {
  const hasMasks = description.outputs.includes('masks');
  const heads = {
    detection: ['class', 'score', 'x, y', 'size', ...(hasMasks ? ['area'] : [])],
    segmentation: ['class', 'of the image', 'pixels'],
  };
  const head = byId('table').querySelector('thead').insertRow();
  for (const text of heads[task]) {
    const cell = document.createElement('th');
    cell.textContent = text;
    head.append(cell);
  }
  for (const element of document.querySelectorAll('.detection')) {
    element.hidden = task !== 'detection';
  }
  byId('of-masks').hidden = task === 'detection' && !hasMasks;
  byId('opacity').closest('.slider').hidden = task === 'detection' && !hasMasks;
  byId('score').defaultValue = description.score_threshold;
  byId('save-result').textContent = task === 'detection' ? 'Save predictions' : 'Save label map';
}

function listen() {
  const chooser = byId('file');
  chooser.addEventListener('change', () => {
    open(chooser.files);
    chooser.value = ''; // the same file can be chosen again
  });
  byId('choose').addEventListener('click', () => chooser.click());
  byId('controls').addEventListener('input', () => requestAnimationFrame(show));
  byId('verify').addEventListener('click', verify);
  byId('save-image').addEventListener('click', () =>
    canvas.toBlob((blob) => save(blob, 'image.png')),
  );
  byId('save-result').addEventListener('click', saveResult);
  for (const kind of ['dragover', 'dragleave', 'drop']) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.toggle('dropping', kind === 'dragover');
      if (kind === 'drop') {
        open(event.dataTransfer.files);
      }
    });
  }
  document.addEventListener('paste', (event) => open(event.clipboardData.files));
}

arrange();
listen();
show();
load();
